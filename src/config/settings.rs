/// What is known of a setting, for documents and for those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingDoc {
    /// Its name within its table.
    pub name: &'static str,
    /// What it may be, or what it counts.
    pub values: &'static str,
    /// What it is unless somebody says otherwise; empty where it is nothing.
    pub default: &'static str,
    /// What it does, and why the default is what it is.
    pub why: &'static str,
}

/// Settings, each written once: as a field for code and serde, and with its text for documents, `--help` and `--print-config`.
macro_rules! settings {
    (@say none) => { "none" };
    (@say $shown:literal) => { concat!("`", $shown, "`") };
    (@default none) => { "" };
    (@default $shown:literal) => { $shown };
    (
        $(#[doc = $about:literal])*
        $config:ident;
        $(
            $(#[doc = $why:literal])+
            $(#[serde($($serde:tt)*)])?
            $name:ident: $type:ty = $default:expr, $shown:tt, $values:literal;
        )*
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct $config {
            $(
                $(#[doc = $why])+
                #[doc = ""]
                #[doc = concat!("Values: ", $values, ". Default: ", settings!(@say $shown), ".")]
                $(#[serde($($serde)*)])?
                pub $name: $type,
            )*
            /// Properties of librdkafka's, by its names, over those of the table `[kafka]`.
            pub kafka: Properties,
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($name: $default,)* kafka: Properties::default() }
            }
        }

        impl $config {
            /// What there is to set, but for librdkafka's properties.
            pub const SETTINGS: &'static [SettingDoc] = &[$(
                SettingDoc {
                    name: stringify!($name),
                    values: $values,
                    default: settings!(@default $shown),
                    why: concat!($($why),+).trim_ascii(),
                },
            )*];
        }
    };
}

pub(super) use settings;

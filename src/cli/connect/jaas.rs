//! `sasl.jaas.config`: where Java's clients keep user and password.

use super::Refused;

const NAME: &str = "sasl.jaas.config";

/// The user and password of a PLAIN or SCRAM login.
#[derive(PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

/// Reads `…PlainLoginModule required username="…" password="…";`. What is wrong is said without a word of the value.
pub(super) fn parse(config: &str) -> Result<Login, Refused> {
    let wrong = |why: &str| Err(Refused::of(NAME, why));
    let Some(tokens) = tokens(config) else {
        return wrong("a quote is not closed");
    };
    let mut tokens = tokens.into_iter();
    let module = match tokens.next() {
        Some(Token::Word(module)) => module,
        _ => return wrong("it begins with the name of a login module"),
    };
    match module.rsplit('.').next() {
        Some("PlainLoginModule" | "ScramLoginModule") => {}
        Some("Krb5LoginModule") => return wrong("Kerberos is not supported; PLAIN and SCRAM are"),
        Some("OAuthBearerLoginModule") => {
            return wrong("use librdkafka's properties sasl.oauthbearer.* for OAUTHBEARER, with sasl.mechanism");
        }
        _ => return wrong("only PlainLoginModule and ScramLoginModule are known"),
    }
    if !matches!(tokens.next(), Some(Token::Word(_))) {
        return wrong("the module's name is followed by `required`");
    }
    let (mut username, mut password) = (None, None);
    loop {
        let name = match tokens.next() {
            Some(Token::Word(name)) => name,
            Some(Token::End) => break,
            _ => return wrong("it ends with a semicolon, after name=\"value\" pairs"),
        };
        let (Some(Token::Equals), Some(Token::Word(value))) = (tokens.next(), tokens.next()) else {
            return wrong("it is made of name=\"value\" pairs");
        };
        match name.as_str() {
            "username" => username = Some(value),
            "password" => password = Some(value),
            "tokenauth" if value == "true" => return wrong("delegation tokens are not supported"),
            _ => {}
        }
    }
    match (username, password) {
        (Some(username), Some(password)) => Ok(Login { username, password }),
        _ => wrong("username and password are needed"),
    }
}

enum Token {
    Word(String),
    Equals,
    End,
}

fn tokens(config: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = config.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ';' => tokens.push(Token::End),
            '=' => tokens.push(Token::Equals),
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                loop {
                    match chars.next()? {
                        '\\' => word.push(chars.next()?),
                        c if c == quote => break,
                        c => word.push(c),
                    }
                }
                tokens.push(Token::Word(word));
            }
            c if c.is_whitespace() => {}
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '=')) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_read_from_both_modules() {
        for module in [
            "org.apache.kafka.common.security.plain.PlainLoginModule",
            "org.apache.kafka.common.security.scram.ScramLoginModule",
        ] {
            for (config, password) in [
                (r#"required username="alice" password="hunter2";"#, "hunter2"),
                (r#"required password = "h=;\" x" serviceName=kafka username='alice' ;"#, "h=;\" x"),
                ("required\n  username=alice\n  password=hunter2;", "hunter2"),
            ] {
                let login = parse(&format!("{module} {config}")).ok();
                let expected = Login { username: "alice".to_owned(), password: password.to_owned() };
                assert!(login == Some(expected), "{config}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (config, why) in [
            ("", "begins with"),
            ("x.Krb5LoginModule required;", "Kerberos"),
            ("x.OAuthBearerLoginModule required;", "sasl.oauthbearer"),
            ("x.Other required password=hunter2;", "only PlainLoginModule"),
            ("x.PlainLoginModule required password=\"hunter2", "quote"),
            ("x.PlainLoginModule required username=\"a\" password=\"hunter2\"", "semicolon"),
            ("x.PlainLoginModule required password=\"hunter2\";", "username and password"),
            ("x.PlainLoginModule required hunter2;", "pairs"),
            ("x.ScramLoginModule required username=a password=hunter2 tokenauth=true;", "delegation"),
        ] {
            let error = parse(config).map(|_| ()).map_err(|error| error.to_string()).err().unwrap_or_default();
            assert!(error.starts_with("property sasl.jaas.config: ") && error.contains(why), "{config}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

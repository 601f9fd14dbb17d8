//! Apache Kafka's jars, fetched once by Maven into the user's cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::error::BrokerError;

/// The release that is run.
pub(crate) const VERSION: &str = "4.3.1";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>kafka-troupe</groupId><artifactId>local-kafka</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>@VERSION@</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>@VERSION@</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"#;

/// The folder with the jars; fetches them where they are not there yet.
pub(crate) fn fetched() -> Result<PathBuf, BrokerError> {
    // With its tools, which the folder of an earlier release of this crate lacks.
    let jars = cache()?.join("kafka-troupe").join(format!("kafka-{VERSION}-tools"));
    if !jars.exists() {
        fetch(&jars)?;
    }
    Ok(jars)
}

fn cache() -> Result<PathBuf, BrokerError> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))).ok_or_else(|| BrokerError::Fetch {
        detail: "there is no folder to keep its jars in: set XDG_CACHE_HOME or HOME".to_owned(),
    })
}

/// Into a folder beside it first, which is then renamed: a fetch that is cut short leaves nothing that looks whole, and of two at once one
/// wins.
fn fetch(jars: &Path) -> Result<(), BrokerError> {
    let failed = |detail: String| BrokerError::Fetch { detail };
    let scratch = jars.with_extension(format!("{}.part", std::process::id()));
    let io = |error: std::io::Error| failed(format!("{}: {error}", scratch.display()));
    std::fs::create_dir_all(&scratch).map_err(io)?;
    let pom = scratch.join("pom.xml");
    std::fs::write(&pom, POM.replace("@VERSION@", VERSION)).map_err(io)?;
    eprintln!("fetching Apache Kafka {VERSION} by Maven into {} (44 MB, once)", jars.display());
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"])
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| BrokerError::MissingTool { tool: "mvn", install: "Maven (package maven)", source: error })?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stdout);
        let _ = std::fs::remove_dir_all(&scratch);
        return Err(failed(format!("Maven ended with {}: {}", fetched.status, said.trim())));
    }
    let renamed = std::fs::rename(scratch.join("jars"), jars);
    let _ = std::fs::remove_dir_all(&scratch);
    match renamed {
        Err(error) if !jars.exists() => Err(failed(format!("{}: {error}", jars.display()))),
        _ => Ok(()),
    }
}

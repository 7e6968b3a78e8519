//! How to reach NATS. Secrets stay in their files until they are needed.

use std::path::PathBuf;

use super::{secret, ConfigError};

#[derive(Debug, Clone)]
pub struct NatsConfig {
    pub url: String,
    pub creds_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub inbox_prefix: String,
}

impl NatsConfig {
    /// The text of the .creds file; never logged.
    pub fn read_credentials(&self) -> Result<Option<String>, ConfigError> {
        self.creds_file.as_deref().map(|path| secret("nats_creds_file", path)).transpose()
    }

    /// User and password; never logged.
    pub fn read_password(&self) -> Result<Option<(String, String)>, ConfigError> {
        let (Some(user), Some(path)) = (&self.user, &self.password_file) else { return Ok(None) };
        let password =
            secret("nats_password_file", path)?.trim_end_matches(['\r', '\n']).to_owned();
        Ok(Some((user.clone(), password)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use std::fs;

    #[test]
    fn a_password_comes_from_a_file_without_its_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\n").unwrap();
        let options = Options {
            nats_user: Some("agent".into()),
            nats_password_file: Some(file.path().to_owned()),
            ..Default::default()
        };
        let config = options.resolve().unwrap();
        assert_eq!(config.nats.read_password().unwrap().unwrap().1, "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}

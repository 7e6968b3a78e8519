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
    /// Seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// Authority that signed the server's certificate; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this agent, for mutual TLS.
    pub certificate_files: Option<(PathBuf, PathBuf)>,
}

impl NatsConfig {
    /// The text of the .creds file; never logged.
    pub fn read_credentials(&self) -> Result<Option<String>, ConfigError> {
        self.creds_file.as_deref().map(|path| secret("nats_creds_file", path)).transpose()
    }

    /// Seed of the nkey; never logged.
    pub fn read_nkey(&self) -> Result<Option<String>, ConfigError> {
        let seed =
            self.nkey_file.as_deref().map(|path| secret("nats_nkey_file", path)).transpose()?;
        Ok(seed.map(|seed| seed.trim().to_owned()))
    }

    /// The files of TLS are read by the client long after the start: a wrong
    /// path should be known at once.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let files = [
            ("nats_ca_file", self.ca_file.as_deref()),
            ("nats_cert_file", self.certificate_files.as_ref().map(|files| files.0.as_path())),
            ("nats_key_file", self.certificate_files.as_ref().map(|files| files.1.as_path())),
        ];
        for (setting, file) in files {
            file.map(|path| secret(setting, path)).transpose()?;
        }
        Ok(())
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

//! How to reach NATS. Secrets stay in their files until they are needed.

use std::path::PathBuf;

use super::{address, named, secret, ConfigError, Options};

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
    /// Checks what belongs together, and the address.
    pub fn of(options: &Options) -> Result<NatsConfig, ConfigError> {
        if options.nats_user.is_some() != options.nats_password_file.is_some() {
            return Err(ConfigError::new(
                "nats_user",
                "user and password file belong together",
                "set both EO_NATS_USER and EO_NATS_PASSWORD_FILE, or neither",
            ));
        }
        let or = |value: &Option<String>, default: &str| value.as_deref().unwrap_or(default).into();
        let url = named("nats_url", or(&options.nats_url, "nats://127.0.0.1:4222"))?;
        address::without_login(
            "nats_url",
            &url,
            "nats_user with nats_password_file, nats_creds_file or nats_nkey_file",
        )?;
        Ok(NatsConfig {
            url,
            creds_file: options.nats_creds_file.clone(),
            user: options.nats_user.clone(),
            password_file: options.nats_password_file.clone(),
            inbox_prefix: named("nats_inbox_prefix", or(&options.nats_inbox_prefix, "_INBOX"))?,
            nkey_file: options.nats_nkey_file.clone(),
            ca_file: options.nats_ca_file.clone(),
            certificate_files: certificate_files(options)?,
        })
    }

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

fn certificate_files(options: &Options) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (&options.nats_cert_file, &options.nats_key_file) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
        (None, None) => Ok(None),
        _ => Err(ConfigError::new(
            "nats_cert_file",
            "certificate and key belong together",
            "set both nats_cert_file and nats_key_file, or neither",
        )),
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

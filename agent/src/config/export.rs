//! Receivers beside the bus.

use std::path::PathBuf;

use super::{address, secret, ConfigError};

/// Where a login for a receiver belongs.
const LOGIN_KEY: &str = "otlp_headers_file";

#[derive(Debug, Clone, Default)]
pub struct ExportConfig {
    /// Base address of an OTLP/HTTP receiver; `/v1/metrics` and so on follow it.
    pub otlp_endpoint: Option<String>,
    /// Where pprof profiles are posted, e.g. Pyroscope's `/ingest`.
    pub pprof_push_url: Option<String>,
    /// Headers of every request, one `Name: value` a line: it may hold a key.
    pub headers_file: Option<PathBuf>,
}

impl ExportConfig {
    /// Checks the addresses.
    pub fn new(
        otlp_endpoint: Option<String>,
        pprof_push_url: Option<String>,
        headers_file: Option<PathBuf>,
    ) -> Result<ExportConfig, ConfigError> {
        Ok(ExportConfig {
            otlp_endpoint: address::http(
                "otlp_endpoint",
                otlp_endpoint,
                "http://127.0.0.1:4318",
                LOGIN_KEY,
            )?,
            pprof_push_url: address::http(
                "pprof_push_url",
                pprof_push_url,
                "http://127.0.0.1:4040/ingest",
                LOGIN_KEY,
            )?,
            headers_file,
        })
    }

    /// Names and values; never logged.
    pub fn read_headers(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let Some(path) = &self.headers_file else { return Ok(Vec::new()) };
        let text = secret("otlp_headers_file", path)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| {
                let (name, value) = line.split_once(':').ok_or_else(|| {
                    ConfigError::new(
                        "otlp_headers_file",
                        "a line has no colon",
                        "write one `Name: value` a line",
                    )
                })?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_from_a_file_and_stay_out_of_messages() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Authorization: Bearer s3cret\n\n").unwrap();
        let config = ExportConfig::new(None, None, Some(file.path().to_owned())).unwrap();
        assert_eq!(
            config.read_headers().unwrap(),
            [("Authorization".into(), "Bearer s3cret".into())]
        );
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let error = config.read_headers().unwrap_err().to_string();
        assert!(error.contains("otlp_headers_file") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn an_address_without_a_scheme_is_refused() {
        let error =
            ExportConfig::new(Some("collector:4318".into()), None, None).unwrap_err().to_string();
        assert!(
            error.contains("otlp_endpoint") && error.contains("http://127.0.0.1:4318"),
            "{error}"
        );
    }
}

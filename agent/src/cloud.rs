//! Instance type from the cloud's metadata service, where the owner allows it.
//!
//! The service answers anybody on the node, and some audits look for programs
//! that talk to it: hence `cloud_metadata` must be set. Firmware says which
//! cloud it is, so that only that one's question is asked.

use std::time::Duration;

/// Link-local address of the service in all three clouds.
pub const METADATA: &str = "http://169.254.169.254";
const TIMEOUT: Duration = Duration::from_secs(1);
const MAX_BODY_BYTES: u64 = 4096;
/// Chassis tag of every Azure machine.
const AZURE_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Clouds whose metadata service is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Amazon,
    Google,
    Azure,
}

impl Cloud {
    /// By what the firmware says.
    pub fn of(
        vendor: Option<&str>,
        product: Option<&str>,
        asset_tag: Option<&str>,
    ) -> Option<Cloud> {
        match (vendor, product) {
            (Some("Amazon EC2"), _) => Some(Cloud::Amazon),
            (_, Some("Google Compute Engine")) => Some(Cloud::Google),
            _ => (asset_tag == Some(AZURE_TAG)).then_some(Cloud::Azure),
        }
    }

    /// Asks the service at `base`. Blocks for up to three seconds.
    pub fn instance_type(self, base: &str) -> Result<String, String> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build()
            .new_agent();
        let failed = |error: ureq::Error| format!("{base}: {error}");
        let mut response = match self {
            Cloud::Amazon => {
                let mut token = agent
                    .put(format!("{base}/latest/api/token"))
                    .header("X-aws-ec2-metadata-token-ttl-seconds", "60")
                    .send_empty()
                    .map_err(failed)?;
                let token = token.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string();
                agent
                    .get(format!("{base}/latest/meta-data/instance-type"))
                    .header("X-aws-ec2-metadata-token", token.map_err(failed)?.trim())
                    .call()
            }
            Cloud::Google => agent
                .get(format!("{base}/computeMetadata/v1/instance/machine-type"))
                .header("Metadata-Flavor", "Google")
                .call(),
            Cloud::Azure => agent
                .get(format!(
                    "{base}/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
                ))
                .header("Metadata", "true")
                .call(),
        }
        .map_err(failed)?;
        let text = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string();
        named(&text.map_err(failed)?).ok_or_else(|| format!("{base}: not an instance type"))
    }
}

/// `n2-standard-4` of `projects/1/machineTypes/n2-standard-4`; None for anything but a plain name.
pub fn named(answer: &str) -> Option<String> {
    let name = answer.trim().rsplit('/').next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Answers requests like the services do; returns the address.
    fn service() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let has = |text: &str| {
                    request.iter().any(|line| line.to_lowercase().contains(&text.to_lowercase()))
                };
                let body = match request.first().map(String::as_str).unwrap_or_default() {
                    one if one.starts_with("PUT /latest/api/token") => "TOKEN",
                    one if one.contains("/instance-type") && has("token: TOKEN") => "m7i.large",
                    one if one.contains("machine-type") && has("flavor: Google") => {
                        "projects/1/machineTypes/n2-standard-4"
                    }
                    one if one.contains("vmSize") && has("metadata: true") => "Standard_D2s_v3",
                    _ => "<html>",
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = (&stream).write_all((head + body).as_bytes());
            }
        });
        base
    }

    #[test]
    fn each_cloud_is_asked_in_its_own_way() {
        let base = service();
        assert_eq!(Cloud::Amazon.instance_type(&base).unwrap(), "m7i.large");
        assert_eq!(Cloud::Google.instance_type(&base).unwrap(), "n2-standard-4");
        assert_eq!(Cloud::Azure.instance_type(&base).unwrap(), "Standard_D2s_v3");
        assert!(Cloud::Amazon.instance_type("http://127.0.0.1:1").is_err());
    }

    #[test]
    fn firmware_names_the_cloud() {
        assert_eq!(Cloud::of(Some("Amazon EC2"), Some("m5.large"), None), Some(Cloud::Amazon));
        assert_eq!(
            Cloud::of(Some("Google"), Some("Google Compute Engine"), None),
            Some(Cloud::Google)
        );
        let microsoft = Some("Microsoft Corporation");
        assert_eq!(
            Cloud::of(microsoft, Some("Virtual Machine"), Some(AZURE_TAG)),
            Some(Cloud::Azure)
        );
        assert_eq!(Cloud::of(microsoft, Some("Virtual Machine"), Some("x")), None);
    }

    #[test]
    fn a_page_of_a_proxy_is_no_type() {
        for (answer, name) in
            [("<html>", None), ("", None), (" a.b-c_d\n", Some("a.b-c_d")), ("a b", None)]
        {
            assert_eq!(named(answer).as_deref(), name);
        }
    }
}

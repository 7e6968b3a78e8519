//! Where names of containers and pods come from.

use super::{address, ConfigError, Options};
use crate::containers::kubelet::KubeletConfig;
use crate::containers::refresh::Source;

/// The sources; the runtimes that have a socket here where none is named.
pub fn sources(options: &Options) -> Result<Vec<Source>, ConfigError> {
    let mut sources = match &options.container_sockets {
        Some(sockets) => super::given(sockets).map(|text| Source::from_setting(text)).collect(),
        None => Source::known(),
    };
    if let Some(url) = &options.kubelet_url {
        let config = KubeletConfig {
            url: url.clone(),
            token_file: options.kubelet_token_file.clone(),
            ca_file: options.kubelet_ca_file.clone(),
            insecure: options.kubelet_insecure.unwrap_or(false),
        };
        check(&config)?;
        sources.push(Source::Kubelet(config));
    }
    Ok(sources)
}

fn check(config: &KubeletConfig) -> Result<(), ConfigError> {
    let plain = config.url.starts_with("http://");
    const EXAMPLE: &str =
        "https://127.0.0.1:10250, or http://127.0.0.1:10255 for its read-only port";
    address::http("kubelet_url", Some(config.url.clone()), EXAMPLE, "kubelet_token_file")?;
    if plain && config.token_file.is_some() {
        return Err(ConfigError::new(
            "kubelet_url",
            "http:// would send the token in the clear",
            "use https://, or leave kubelet_token_file out for the read-only port",
        ));
    }
    if !plain && config.ca_file.is_none() && !config.insecure {
        return Err(ConfigError::new(
            "kubelet_ca_file",
            "is missing, so that the kubelet can't be told from another program",
            "give the cluster's CA, or set kubelet_insecure = true where only the kubelet can listen there",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> String {
        Options::from_toml(toml, "x").and_then(|options| sources(&options)).unwrap_err().to_string()
    }

    #[test]
    fn a_kubelet_that_would_get_a_token_unseen_is_refused() {
        for (toml, word) in [
            ("kubelet_url = 'localhost:10250'\n", "10255"),
            ("kubelet_url = 'https://127.0.0.1:10250'\n", "kubelet_ca_file"),
            ("kubelet_url = 'http://127.0.0.1:10255'\nkubelet_token_file = '/t'\n", "in the clear"),
        ] {
            assert!(problem(toml).contains(word), "{toml}");
        }
    }

    #[test]
    fn the_sockets_that_are_named_are_all_that_are_asked() {
        let toml = "container_sockets = ['docker:/a', '/b.sock']\nkubelet_url = 'http://127.0.0.1:10255'\n";
        let found = Options::from_toml(toml, "x").and_then(|options| sources(&options)).unwrap();
        let names: Vec<_> = found.iter().map(Source::name).collect();
        assert_eq!(names, ["docker:/a", "cri:/b.sock", "kubelet:http://127.0.0.1:10255"]);
    }
}

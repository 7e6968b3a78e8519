//! Addresses of other servers: where they are, never who we are.
//!
//! A password in an address ends up in argument lists, logs and error
//! messages. Such an address is refused here with an error that names the key
//! and the file to use instead; no error shows an address that may hold one.

use super::ConfigError;

/// What stands between the scheme and the path.
fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Refuses `user:password@` and `token@`, in each of a list separated by commas;
/// `instead` names the keys that do it by files.
pub fn without_login(setting: &str, address: &str, instead: &str) -> Result<(), ConfigError> {
    if !address.split(',').any(|one| authority(one).contains('@')) {
        return Ok(());
    }
    Err(ConfigError::new(
        setting,
        "holds a user or password, which would show up in argument lists and logs",
        &format!("take out everything up to the @ and use {instead}"),
    ))
}

/// An `http(s)://` address without login, query or fragment; None stays None.
pub fn http(
    setting: &str,
    address: Option<String>,
    example: &str,
    instead: &str,
) -> Result<Option<String>, ConfigError> {
    let Some(address) = address else { return Ok(None) };
    let wrong =
        |problem: &str| Err(ConfigError::new(setting, problem, &format!("use e.g. {example}")));
    without_login(setting, &address, instead)?;
    if !address.starts_with("http://") && !address.starts_with("https://") {
        return wrong("does not begin with http:// or https://");
    }
    if authority(&address).is_empty() {
        return wrong("names no host");
    }
    if address.contains(['?', '#']) {
        let next = format!("use e.g. {example}, and for a key {instead}");
        return Err(ConfigError::new(setting, "has a query or fragment", &next));
    }
    Ok(Some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_refused_wherever_it_stands_and_never_shown() {
        for address in [
            "nats://user:s3cret@bus:4222",
            "user:s3cret@bus:4222",
            "nats://bus-a:4222,nats://s3cret@bus-b:4222",
            "https://s3cret@host/path?x=1",
        ] {
            let error = without_login("nats_url", address, "nats_password_file").unwrap_err();
            let error = error.to_string();
            assert!(error.contains("nats_url") && error.contains("nats_password_file"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        for address in
            ["nats://bus:4222", "http://host/a@b", "bus-a:4222,bus-b:4222", "http://h/?m=a@b"]
        {
            assert_eq!(without_login("nats_url", address, "x"), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_web_server_is_not_shown() {
        for address in
            ["ftp://s3cret", "s3cret:4318", "http://", "http:///s3cret", "http://h/?token=s3cret"]
        {
            let given = Some(address.to_owned());
            let error = http("otlp_endpoint", given, "http://127.0.0.1:4318", "otlp_headers_file");
            let error = error.unwrap_err().to_string();
            assert!(error.contains("otlp_endpoint") && error.contains("http://127.0.0.1:4318"));
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}

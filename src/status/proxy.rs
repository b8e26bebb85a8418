//! Which proxy leads to an API server: the one that kubectl would take. Pure.

use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The proxy on the way to `server`: `proxy-url` of the kubeconfig whatever NO_PROXY says, else what the environment names
/// for the server's scheme. Never for this machine itself, as in Go's `httpproxy`.
///
/// # Errors
/// When the address of the proxy is none; in words, without the address, which may hold a password.
pub(super) fn chosen(
    server: &Uri,
    of_kubeconfig: Option<&str>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, String> {
    if let Some(named) = of_kubeconfig.filter(|url| !url.is_empty()) {
        return address("proxy-url in the kubeconfig", named).map(Some);
    }
    let variable = |name: &str| {
        [name.to_owned(), name.to_lowercase()]
            .iter()
            .find_map(|name| environment(name).filter(|value| !value.trim().is_empty()))
    };
    let name = if server.scheme_str() == Some("http") {
        "HTTP_PROXY"
    } else {
        "HTTPS_PROXY"
    };
    let Some(named) = variable(name).filter(|_| !is_this_machine(server)) else {
        return Ok(None);
    };
    // Only asked whether: it keeps the password apart from the address.
    let any = "http://proxy";
    let matcher = Matcher::builder().http(any).https(any);
    let matcher = matcher.no(variable("NO_PROXY").unwrap_or_default()).build();
    if matcher.intercept(server).is_none() {
        return Ok(None);
    }
    address(name, named.trim()).map(Some)
}

fn is_this_machine(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Without a scheme it is HTTP.
fn address(place: &str, text: &str) -> Result<Uri, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let uri: Uri = whole
        .parse()
        .map_err(|_| format!("{place} is no address of a proxy"))?;
    match uri.scheme_str() {
        Some("http" | "https" | "socks5") => Ok(uri),
        _ => Err(format!("{place} must begin with http://, https:// or socks5://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(server: &str, of_kubeconfig: Option<&str>, environment: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        let chosen = chosen(&server.parse().unwrap(), of_kubeconfig, variable)?;
        Ok(chosen.map_or_else(|| "direct".to_owned(), |uri| uri.to_string()))
    }

    #[test]
    fn the_environment_names_a_proxy_by_the_servers_scheme_unless_no_proxy_has_the_server() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("http_proxy", "b:2")];
        for (server, no_proxy, expected) in [
            ("https://api.example:6443", "", "http://a:1/"),
            ("http://api.example:6443", "", "http://b:2/"),
            ("https://api.example:6443", "localhost,127.0.0.1,", "http://a:1/"),
            ("https://api.example:6443", "other, .example", "direct"),
            ("https://api.example:6443", "*", "direct"),
            ("https://10.1.2.3", "10.0.0.0/8", "direct"),
            ("https://10.1.2.3", "a", "http://a:1/"),
            ("https://127.0.0.1:6443", "", "direct"),
            ("https://[::1]:6443", "", "direct"),
            ("http://localhost:8080", "", "direct"),
        ] {
            let mut environment = both.to_vec();
            environment.push(("NO_PROXY", no_proxy));
            assert_eq!(
                by(server, None, &environment).unwrap(),
                expected,
                "{server} {no_proxy:?}"
            );
        }
        assert_eq!(
            by("https://api.example", None, &[("HTTPS_PROXY", " ")]).unwrap(),
            "direct"
        );
    }

    #[test]
    fn the_kubeconfigs_proxy_counts_whatever_the_environment_says() {
        let environment = [("NO_PROXY", "*"), ("HTTPS_PROXY", "http://a:1")];
        for server in ["https://api.example", "https://127.0.0.1"] {
            let chosen = by(server, Some("socks5://10.0.0.1:1080"), &environment);
            assert_eq!(chosen.unwrap(), "socks5://10.0.0.1:1080/");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in ["ftp://me:geheim@proxy", "http://me:geheim@ /", "socks4://proxy"] {
            let why = by("https://api.example", Some(text), &[]).unwrap_err();
            assert!(
                why.starts_with("proxy-url in the kubeconfig ") && !why.contains("geheim"),
                "{why}"
            );
            let why = by("https://api.example", None, &[("https_proxy", text)]).unwrap_err();
            assert!(
                why.starts_with("HTTPS_PROXY ") && !why.contains("geheim"),
                "{why}"
            );
        }
    }
}

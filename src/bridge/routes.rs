//! From a message to the records it becomes. Pure.

use serde::de::IgnoredAny;

use super::config::{BridgeConfig, PayloadFormat};
use super::pattern::{PatternError, Template, TemplateError, TopicPattern};
use super::progress::Reason;
use super::window::{Plan, Refusal};

/// All routes, compiled.
#[derive(Clone, Debug)]
pub struct RouteTable {
    routes: Vec<Route>,
}

/// One route, compiled.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The Kafka topic.
    pub topic: String,
    pattern: TopicPattern,
    key: Template,
    headers: Vec<(String, Template)>,
    json: bool,
}

/// A configuration that [`BridgeConfig::validate`] would have refused.
#[derive(Debug, thiserror::Error)]
#[error("route {route:?} cannot be used: {reason}")]
pub struct RouteError {
    /// The route's name.
    pub route: String,
    /// What is wrong.
    pub reason: String,
}

impl RouteTable {
    /// Compiles the routes of a validated configuration.
    ///
    /// # Errors
    /// When it was not validated.
    pub fn compile(config: &BridgeConfig) -> Result<Self, RouteError> {
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let pattern_error = |e: PatternError| RouteError {
                route: route.name.clone(),
                reason: format!("match {e}"),
            };
            let pattern = TopicPattern::parse(&route.match_).map_err(pattern_error)?;
            let template = |text: &str| {
                let error = |e: TemplateError| RouteError {
                    route: route.name.clone(),
                    reason: e.to_string(),
                };
                Template::parse(text, pattern.names()).map_err(error)
            };
            let key = route
                .key
                .as_deref()
                .map_or_else(|| Ok(Template::whole_topic()), template)?;
            let headers = route
                .headers
                .iter()
                .map(|(name, text)| Ok((name.clone(), template(text)?)));
            routes.push(Route {
                name: route.name.clone(),
                topic: route.topic.clone(),
                key,
                headers: headers.collect::<Result<_, RouteError>>()?,
                json: route.format == PayloadFormat::Json,
                pattern,
            });
        }
        Ok(Self { routes })
    }

    /// The routes, by slot.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a slot; `None` for dead letters.
    pub fn get(&self, slot: u8) -> Option<&Route> {
        self.routes.get(usize::from(slot))
    }

    /// Which routes take a message and which refuse it. A `complete` payload is judged; of one that was cut off
    /// nothing can be said but that it is too large, which is for the caller to say.
    pub fn plan(&self, topic: &str, payload: &[u8], complete: bool) -> Plan {
        let mut plan = Plan::default();
        let mut captured = Vec::new();
        let mut json: Option<Result<(), String>> = None;
        let mut matched = false;
        for (route, slot) in self.routes.iter().zip(0_u8..) {
            if !route.pattern.matches(topic, &mut captured) {
                continue;
            }
            matched = true;
            if route.json && complete {
                let verdict = json.get_or_insert_with(|| check_json(payload));
                if let Err(why) = verdict {
                    let text = format!("route {}: the payload is not JSON: {why}", route.name);
                    plan.refusals.push(Refusal {
                        slot: Some(slot),
                        reason: Reason::InvalidPayload,
                        text,
                    });
                    continue;
                }
            }
            plan.routes |= 1 << slot;
        }
        if !matched {
            let text = "no route matches this topic".to_owned();
            plan.refusals.push(Refusal {
                slot: None,
                reason: Reason::NoRoute,
                text,
            });
        }
        plan
    }
}

impl Route {
    /// Writes the record's key into `key` and gives each header to `header`, both filled from the topic.
    pub fn render(&self, topic: &str, key: &mut String, mut header: impl FnMut(&str, &str)) {
        let mut captured = Vec::new();
        // It matched when the message was planned; matching again is cheaper than keeping what was captured.
        self.pattern.matches(topic, &mut captured);
        key.clear();
        self.key.render(topic, &captured, key);
        let mut value = String::new();
        for (name, template) in &self.headers {
            value.clear();
            template.render(topic, &captured, &mut value);
            header(name, &value);
        }
    }
}

/// One JSON text (RFC 8259), in UTF-8 without a byte order mark.
fn check_json(payload: &[u8]) -> Result<(), String> {
    // serde_json does not look into strings that it ignores.
    let text = std::str::from_utf8(payload).map_err(|e| e.to_string())?;
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::config::tests::EXAMPLE;
    use proptest::prelude::*;

    fn table(routes: &str) -> RouteTable {
        let (head, _) = EXAMPLE.split_once("routes:").unwrap();
        let config: BridgeConfig = serde_yaml::from_str(&format!("{head}routes: {routes}")).unwrap();
        RouteTable::compile(&config).unwrap()
    }

    fn refusals(plan: &Plan) -> Vec<(Option<u8>, Reason)> {
        plan.refusals.iter().map(|r| (r.slot, r.reason)).collect()
    }

    #[test]
    fn every_matching_route_takes_the_message() {
        let table = table(
            "[{name: a, match: 'f/{line}/#', topic: x, format: Raw},
              {name: b, match: 'f/+/t', topic: y, format: Raw}, {name: c, match: 'g', topic: z, format: Raw}]",
        );
        assert_eq!(table.plan("f/1/t", b"x", true).routes, 0b011);
        assert_eq!(table.plan("f/1/u", b"x", true).routes, 0b001);
        let plan = table.plan("h", b"x", true);
        assert_eq!((plan.routes, refusals(&plan)), (0, vec![(None, Reason::NoRoute)]));
    }

    #[test]
    fn a_json_route_refuses_what_is_not_json_and_the_others_still_take_it() {
        let table = table(
            "[{name: a, match: '#', topic: x, format: Json}, {name: b, match: '#', topic: y, format: Raw}]",
        );
        for good in ["{}", "[1, 2]", "\"x\"", " 1e400 ", "{\"a\":{\"a\":1}}", "null"] {
            assert_eq!(table.plan("t", good.as_bytes(), true).routes, 0b11, "{good}");
        }
        for bad in [
            &b""[..],
            b"{",
            b"{} {}",
            b"nan",
            b"'x'",
            b"\xEF\xBB\xBF{}",
            b"\"\xFF\"",
            b"{\"a\":1,}",
        ] {
            let plan = table.plan("t", bad, true);
            assert_eq!(
                (plan.routes, refusals(&plan)),
                (0b10, vec![(Some(0), Reason::InvalidPayload)]),
                "{bad:?}"
            );
        }
        assert_eq!(table.plan("t", b"{\"cut", false).routes, 0b11);
    }

    #[test]
    fn depth_does_not_break_the_parser() {
        let table = table("[{name: a, match: '#', topic: x, format: Json}]");
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let plan = table.plan("t", deep.as_bytes(), true);
        assert_eq!(plan.routes, 1);
    }

    #[test]
    fn key_and_headers_are_filled_from_the_topic() {
        let table = table(
            "[{name: a, match: 'f/{line}/{machine}', topic: x, key: '{line}/{machine}', format: Raw,
               headers: {site: munich, machine: '{machine}'}},
              {name: b, match: 'f/#', topic: x, format: Raw}]",
        );
        let (mut key, mut headers) = (String::from("old"), Vec::new());
        let [a, b] = table.routes() else { panic!() };
        a.render("f/l1/m2", &mut key, |n, v| headers.push(format!("{n}={v}")));
        assert_eq!(key, "l1/m2");
        assert_eq!(headers, ["machine=m2", "site=munich"]);
        b.render("f/l1/m2", &mut key, |_, _| panic!("no headers"));
        assert_eq!(
            key, "f/l1/m2",
            "without a key the topic is the key, so that order is kept for each topic"
        );
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_as_a_value_is_taken(text in "[\\[\\]{}\",:0-9a-z \\\\.eE+-]{0,24}") {
            let read = serde_json::from_str::<serde_json::Value>(&text);
            let taken = check_json(text.as_bytes());
            // The one difference: a number beyond f64 is JSON all the same.
            if !matches!(&read, Err(e) if e.to_string().contains("out of range")) {
                prop_assert_eq!(read.is_ok(), taken.is_ok(), "{}: {:?} {:?}", text, read, taken);
            }
        }
    }
}

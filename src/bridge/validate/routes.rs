//! The routes' part of [`super`].

use std::collections::BTreeSet;

use super::{
    ConfigError, ConfigProblem, MAX_HEADERS, MAX_ROUTES, MAX_SUBSCRIPTIONS, MAX_TEMPLATE_BYTES, check_topic,
};
use crate::bridge::config::{BridgeConfig, RouteConfig, SubscriptionConfig};
use crate::bridge::pattern::{PatternError, Template, TopicPattern};
use crate::mqtt::filter::{self, FilterError};

pub(super) fn check(config: &BridgeConfig, errors: &mut Vec<ConfigError>) {
    use ConfigProblem as P;
    if config.routes.is_empty() || config.routes.len() > MAX_ROUTES {
        let count = config.routes.len();
        errors.push(ConfigError::new(
            P::OutOfBounds,
            "routes",
            count,
            "entries",
            "give 1 to 64 routes",
        ));
    }
    let mut names = BTreeSet::new();
    let mut filters = Vec::new();
    for route in config.routes.iter().take(MAX_ROUTES) {
        let field = format!("routes[{}]", route.name);
        if !valid_name(&route.name) {
            let remedy = "use 1 to 63 of a-z, 0-9 and -, first and last no -";
            errors.push(ConfigError::new(
                P::InvalidName,
                format!("{field}.name"),
                &route.name,
                "is no name",
                remedy,
            ));
        }
        if !names.insert(&route.name) {
            let remedy = "give each route its own name";
            errors.push(ConfigError::new(
                P::DuplicateRoute,
                field.clone(),
                &route.name,
                "is there twice",
                remedy,
            ));
        }
        check_topic(&format!("{field}.topic"), &route.topic, errors);
        match TopicPattern::parse(&route.match_) {
            Err(error) => errors.push(match_error(&field, &route.match_, &error)),
            Ok(pattern) => {
                check_fed(&field, route, &pattern, &config.mqtt.subscriptions, errors);
                check_templates(&field, route, &pattern, errors);
                filters.push(pattern.filter());
            }
        }
    }
    check_unrouted(config, &filters, errors);
}

fn match_error(field: &str, text: &str, error: &PatternError) -> ConfigError {
    let remedy = match error {
        PatternError::PartialLevel { .. } => "let a capture be a whole level, as in factory/{line}/telemetry",
        PatternError::Name { .. } => "name the capture for example {line} or {machine_2}",
        PatternError::Duplicate { .. } => "give each capture its own name",
        PatternError::TooMany => "use + where the level is not needed",
        PatternError::Filter(FilterError::Shared) => "write the filter without $share",
        PatternError::Filter(_) => "use {name} or + for one whole level, # only as the whole last level",
    };
    ConfigError::new(
        ConfigProblem::InvalidMatch,
        format!("{field}.match"),
        text,
        error.to_string(),
        remedy,
    )
}

fn check_fed(
    field: &str,
    route: &RouteConfig,
    pattern: &TopicPattern,
    subscriptions: &[SubscriptionConfig],
    errors: &mut Vec<ConfigError>,
) {
    let wanted = pattern.filter();
    let feeds = |s: &&SubscriptionConfig| {
        filter::check_filter(&s.filter).is_ok() && filter::overlap(&s.filter, &wanted)
    };
    if !subscriptions.iter().any(|s| feeds(&s)) {
        errors.push(ConfigError::new(
            ConfigProblem::UnfedRoute,
            format!("{field}.match"),
            &route.match_,
            "matches no topic that a subscription brings",
            format!("subscribe to {wanted:?} in mqtt.subscriptions, or remove the route"),
        ));
    }
}

fn check_templates(field: &str, route: &RouteConfig, pattern: &TopicPattern, errors: &mut Vec<ConfigError>) {
    use ConfigProblem as P;
    let mut template = |field: String, text: &str| {
        if text.len() > MAX_TEMPLATE_BYTES {
            errors.push(ConfigError::new(
                P::InvalidTemplate,
                field,
                text.len(),
                "bytes long",
                "use at most 1024",
            ));
        } else if let Err(error) = Template::parse(text, pattern.names()) {
            let (problem, remedy) = match &error {
                crate::bridge::pattern::TemplateError::UnknownCapture { .. } => {
                    (P::UnknownCapture, known_names(pattern))
                }
                _ => (
                    P::InvalidTemplate,
                    "write {{ and }} for braces that are meant as such".to_owned(),
                ),
            };
            errors.push(ConfigError::new(problem, field, text, error.to_string(), remedy));
        }
    };
    if let Some(key) = &route.key {
        template(format!("{field}.key"), key);
    }
    for (name, value) in &route.headers {
        template(format!("{field}.headers[{name}]"), value);
    }
    if route.key.as_deref() == Some("") {
        let (why, remedy) = (
            "is empty: every record would go to one partition",
            "name captures, or remove the field",
        );
        errors.push(ConfigError::new(
            P::InvalidTemplate,
            format!("{field}.key"),
            "",
            why,
            remedy,
        ));
    }
    if route.headers.len() > MAX_HEADERS {
        let count = route.headers.len();
        errors.push(ConfigError::new(
            P::OutOfBounds,
            format!("{field}.headers"),
            count,
            "entries",
            "give at most 32",
        ));
    }
    for name in route.headers.keys() {
        let reserved = name.starts_with("mqtt.") || name.starts_with("tributary.");
        if name.is_empty() || name.len() > 128 || reserved || name.chars().any(char::is_control) {
            let why = if reserved {
                "begins with a prefix that the bridge uses itself"
            } else {
                "is no header name"
            };
            let remedy = "use 1 to 128 characters, first not mqtt. or tributary.";
            errors.push(ConfigError::new(
                P::InvalidHeader,
                format!("{field}.headers"),
                name,
                why,
                remedy,
            ));
        }
    }
}

fn known_names(pattern: &TopicPattern) -> String {
    let mut known: Vec<String> = pattern.names().iter().map(|n| format!("{{{n}}}")).collect();
    known.push(format!("{{{}}}", crate::bridge::pattern::WHOLE_TOPIC));
    format!("use {}, or capture the level in match", known.join(", "))
}

fn check_unrouted(config: &BridgeConfig, filters: &[String], errors: &mut Vec<ConfigError>) {
    // With a route that cannot be read nobody knows what it would have taken: one error at a time.
    if config.dead_letter.is_some() || filters.len() != config.routes.len() {
        return;
    }
    for SubscriptionConfig { filter, .. } in config.mqtt.subscriptions.iter().take(MAX_SUBSCRIPTIONS) {
        if filter::check_filter(filter).is_ok() && !filters.iter().any(|f| filter::overlap(f, filter)) {
            errors.push(ConfigError::new(
                ConfigProblem::UnroutedSubscription,
                format!("mqtt.subscriptions[{filter}]"),
                filter,
                "feeds no route, and there is no dead-letter topic: its first message would stop the bridge",
                "add a route or a deadLetter, or remove the subscription",
            ));
        }
    }
}

fn valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

//! Settings of subscriptions and their webhooks.

use clap::{Args, builder::BoolishValueParser};
use headwater_protocol::subscription::target::LocalTargets;
use headwater_service::config::SubscriptionConfig;
use humantime::Duration;

use super::{
    milliseconds,
    values::{count, some_time},
};

/// Limits on subscriptions, and how webhooks are sent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Subscriptions")]
pub(crate) struct Subscriptions {
    /// Public origin of the server, such as `https://streams.example`: the base of callback URLs in webhooks. Without
    /// it they use the host of the request that created the subscription.
    #[arg(long, env = "HEADWATER_PUBLIC_URL", value_name = "ORIGIN", value_parser = origin)]
    pub(crate) public_url: Option<Box<str>>,

    /// Allows webhooks to `http://localhost` and `http://127.0.0.x`, for development.
    #[arg(long, env = "HEADWATER_WEBHOOK_ALLOW_LOCALHOST", value_parser = BoolishValueParser::new())]
    pub(crate) webhook_allow_localhost: bool,

    /// How long a webhook request may take. The lease of its subscription is a limit, too.
    #[arg(long, env = "HEADWATER_WEBHOOK_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = some_time)]
    pub(crate) webhook_timeout: Duration,

    /// How long a signing key is used before a new one replaces it, at least an hour; with `0s` it is never replaced.
    #[arg(long, env = "HEADWATER_WEBHOOK_KEY_LIFETIME", default_value = "90days", value_name = "DURATION", value_parser = key_lifetime)]
    pub(crate) webhook_key_lifetime: Duration,

    /// Most webhooks in flight at the same time. Further ones wait.
    #[arg(long, env = "HEADWATER_WEBHOOKS_MAX", default_value_t = 256, value_name = "WEBHOOKS", value_parser = count)]
    pub(crate) webhooks_max: usize,

    /// Most webhooks in flight to one host and port at the same time. Further ones wait.
    #[arg(long, env = "HEADWATER_WEBHOOKS_PER_TARGET_MAX", default_value_t = 16, value_name = "WEBHOOKS", value_parser = count)]
    pub(crate) webhooks_per_target_max: usize,

    /// Most subscriptions; with 0 there are none. Beyond it, creation is refused with 409.
    #[arg(long, env = "HEADWATER_SUBSCRIPTIONS_MAX", default_value_t = 10_000, value_name = "SUBSCRIPTIONS")]
    pub(crate) subscriptions_max: usize,

    /// Most links from subscriptions to streams. Beyond it, creation is refused with 409 and patterns stop adding
    /// streams.
    #[arg(long, env = "HEADWATER_SUBSCRIPTION_LINKS_MAX", default_value_t = 1_000_000, value_name = "LINKS")]
    pub(crate) subscription_links_max: usize,
}

impl Subscriptions {
    /// Returns the service's configuration of subscriptions.
    pub(super) fn service(&self) -> SubscriptionConfig {
        let mut config = SubscriptionConfig::default();
        config.subscriptions_max = self.subscriptions_max;
        config.links_max = self.subscription_links_max;
        config.deliveries_max = self.webhooks_max;
        config.deliveries_per_target_max = self.webhooks_per_target_max;
        config.webhook_timeout_ms = milliseconds(self.webhook_timeout);
        config.webhook_key_lifetime_ms =
            Some(milliseconds(self.webhook_key_lifetime)).filter(|&lifetime_ms| lifetime_ms > 0);
        if self.webhook_allow_localhost {
            config.local_targets = LocalTargets::Allowed;
        }
        config.public_url = self.public_url.clone();
        config
    }
}

fn key_lifetime(text: &str) -> Result<Duration, String> {
    let time: Duration = text.parse().map_err(|error: humantime::DurationError| error.to_string())?;
    match milliseconds(time) {
        0 | 3_600_000.. => Ok(time),
        _ => Err("it must be 0s or at least 1h".to_owned()),
    }
}

fn origin(text: &str) -> Result<Box<str>, String> {
    let origin = text.trim_end_matches('/');
    let is_origin = origin.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none()
    });
    if is_origin { Ok(origin.into()) } else { Err("an origin such as https://streams.example".to_owned()) }
}

//! Settings of subscriptions and of their webhooks.

use clap::Args;
use headwater_protocol::subscription::target::LocalTargets;
use headwater_service::config;
use humantime::Duration;

use super::{milliseconds, some_time};

/// Who is woken, and how webhooks are sent.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Subscriptions")]
pub struct Subscriptions {
    /// The server as the world reaches it, such as `https://streams.example`: webhooks say it for callbacks. Without it
    /// they say what the host was of whoever created the subscription.
    #[arg(long, env = "HEADWATER_PUBLIC_URL", value_name = "ORIGIN", value_parser = origin)]
    pub public_url: Option<Box<str>>,

    /// Takes webhooks to `http://localhost` and `http://127.0.0.x` too: for development.
    #[arg(long, env = "HEADWATER_WEBHOOK_ALLOW_LOCALHOST")]
    pub webhook_allow_localhost: bool,

    /// How long a webhook may take; never longer than its subscription's lease.
    #[arg(long, env = "HEADWATER_WEBHOOK_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = some_time)]
    pub webhook_timeout: Duration,

    /// How long a signing key is used before the next one is; `0s`: for ever.
    #[arg(long, env = "HEADWATER_WEBHOOK_KEY_LIFETIME", default_value = "90days", value_name = "DURATION")]
    pub webhook_key_lifetime: Duration,

    /// Webhooks on their way at a time; the next one waits.
    #[arg(long, env = "HEADWATER_WEBHOOKS_MAX", default_value_t = 256, value_name = "WEBHOOKS")]
    pub webhooks_max: usize,

    /// The same for one host and port.
    #[arg(long, env = "HEADWATER_WEBHOOKS_PER_TARGET_MAX", default_value_t = 16, value_name = "WEBHOOKS")]
    pub webhooks_per_target_max: usize,

    /// Subscriptions at a time. Beyond it: 409.
    #[arg(long, env = "HEADWATER_SUBSCRIPTIONS_MAX", default_value_t = 10_000, value_name = "SUBSCRIPTIONS")]
    pub subscriptions_max: usize,

    /// Streams of all subscriptions together, each counted for each. Beyond it: 409, and patterns discover no more.
    #[arg(long, env = "HEADWATER_SUBSCRIPTION_LINKS_MAX", default_value_t = 1_000_000, value_name = "LINKS")]
    pub subscription_links_max: usize,
}

impl Subscriptions {
    /// As the service needs them.
    pub(super) fn service(&self) -> config::Subscriptions {
        config::Subscriptions {
            subscriptions_max: self.subscriptions_max,
            links_max: self.subscription_links_max,
            deliveries_max: self.webhooks_max.max(1),
            deliveries_per_target_max: self.webhooks_per_target_max.max(1),
            webhook_timeout_ms: milliseconds(self.webhook_timeout),
            webhook_key_lifetime_ms: Some(milliseconds(self.webhook_key_lifetime)).filter(|&ms| ms > 0),
            local_targets: if self.webhook_allow_localhost {
                LocalTargets::Allowed
            } else {
                LocalTargets::Refused
            },
            public_url: self.public_url.clone(),
        }
    }
}

fn origin(text: &str) -> Result<Box<str>, String> {
    let origin = text.trim_end_matches('/');
    let is_origin = origin.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none()
    });
    if is_origin { Ok(origin.into()) } else { Err("an origin such as https://streams.example".to_owned()) }
}

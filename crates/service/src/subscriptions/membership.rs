//! Explicit links that come and go (section 6.4), as far as they aren't those of a creation.

use std::sync::Arc;

use headwater_protocol::{
    Refusal,
    path::StreamName,
    subscription::{Delivery, Link, Serial, SubscriptionId, SubscriptionRefusal},
};

use super::registry::{self, Registry};
use crate::Inner;

impl Inner {
    /// Takes an explicit link away; one that the pattern makes stays.
    pub(super) async fn remove_stream(
        self: &Arc<Self>,
        id: &SubscriptionId,
        name: &StreamName,
    ) -> Result<(), Refusal> {
        let subscriptions = self.subscriptions()?;
        let serial = subscriptions.registry().find(id).ok_or(SubscriptionRefusal::NotFound)?.0;
        let _gate = subscriptions.gate(serial).await?;
        let stays = {
            let registry = subscriptions.registry();
            let Some(entry) = registry.entries.get(&serial) else { return Ok(()) };
            let link = entry.links.get(name).map(|linked| linked.link).filter(|link| link.explicit);
            let Some(link) = link else { return Ok(()) };
            entry.subscription.config.discovers(name).then_some(Link { explicit: false, ..link })
        };
        let edit = match &stays {
            Some(link) => registry::write_link(serial, name, link),
            None => registry::remove_link(serial, name),
        };
        self.write(vec![edit]).await?;
        let mut registry = subscriptions.registry();
        match stays {
            Some(_) => set_explicit(&mut registry, serial, name, false),
            None => _ = registry.unlink(serial, name),
        }
        Ok(())
    }
}

/// A subscription must not be woken by its own wakes.
pub(super) fn check(
    registry: &Registry,
    serial: Serial,
    name: &StreamName,
) -> Result<(), SubscriptionRefusal> {
    let delivery = registry.entries.get(&serial).map(|entry| &entry.subscription.config.delivery);
    match delivery {
        Some(Delivery::PullWake(wake_stream)) if wake_stream == name => {
            Err(SubscriptionRefusal::Invalid("wake_stream would wake for its own wakes".into()))
        }
        _ => Ok(()),
    }
}

/// A link that was to become explicit didn't. What is left of it then the pattern has made.
pub(super) fn undo(registry: &mut Registry, serial: Serial, name: &StreamName, by: u64) {
    registry.settle(serial, name, by, false);
    set_explicit(registry, serial, name, false);
}

fn set_explicit(registry: &mut Registry, serial: Serial, name: &StreamName, explicit: bool) {
    let linked = registry.entries.get_mut(&serial).and_then(|entry| entry.links.get_mut(name));
    if let Some(linked) = linked {
        linked.link.explicit = explicit;
    }
}

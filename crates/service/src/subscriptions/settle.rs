//! What workers tell of their work: callback, ack and release (sections 7.1 to 7.3). Nothing of a request counts unless
//! all of it does.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use headwater_protocol::{
    Refusal,
    op::subscription::{Report, Settlement},
    path::StreamName,
    response::ResponseHead,
    stream::StreamHead,
    subscription::{Link, SubscriptionId, SubscriptionRefusal, token, view, wake::Kind},
};

use super::{registry::Entry, transition::Step};
use crate::{Inner, streams::refuse};

impl Inner {
    pub(super) async fn settle(
        self: &Arc<Self>,
        id: &SubscriptionId,
        settlement: Settlement,
        bearer: &str,
        body: &[u8],
    ) -> Result<(ResponseHead, Bytes), Refusal> {
        let kind = if settlement == Settlement::Callback { Kind::Webhook } else { Kind::PullWake };
        let (serial, secret) = self.find(id, kind)?;
        let token_generation = token::verify(&secret, serial, bearer)?;
        let report = Report::read(body)?;
        self.survey(serial).await?;
        let mut heads = BTreeMap::new();
        if settlement != Settlement::Release {
            for (name, _) in &report.acks {
                if !heads.contains_key(name) {
                    heads.insert(name.clone(), self.store.load(name).await.map_err(refuse)?);
                }
            }
        }
        let settled = self.transit(serial, |entry, now_ms| {
            let wakes = entry.wakes(now_ms);
            let wake_id = token::wake_id(&secret, serial, wakes.generation);
            if let Err(refusal) = wakes.check(&report.fence(token_generation), &wake_id) {
                return (None, Err(refusal));
            }
            if settlement == Settlement::Release {
                return (Some(Step::to(wakes.idle())), Ok(false));
            }
            let acks = match acknowledged(entry, &report, &heads) {
                Ok(acks) => acks,
                Err(refusal) => return (None, Err(refusal)),
            };
            let wakes_again = report.done && is_pending_after(entry, &acks);
            let lease_ttl_ms = entry.subscription.config.lease_ttl_ms;
            let wakes = if report.done { wakes.done() } else { wakes.extended(lease_ttl_ms, now_ms) };
            (Some(Step { wakes, acks: acks.into_iter().collect() }), Ok(wakes_again))
        });
        let wakes_again = settled.await??;
        Ok(match settlement {
            Settlement::Release => view::respond_done(),
            Settlement::Callback | Settlement::Ack => view::respond_to_ack(wakes_again),
        })
    }
}

/// The links that a report moves.
fn acknowledged(
    entry: &Entry,
    report: &Report,
    heads: &BTreeMap<StreamName, Option<StreamHead>>,
) -> Result<BTreeMap<StreamName, Link>, SubscriptionRefusal> {
    let mut moved: BTreeMap<StreamName, Link> = BTreeMap::new();
    for (name, offset) in &report.acks {
        let invalid = |rule| SubscriptionRefusal::OffsetInvalid { stream: name.as_str().into(), rule };
        let known = entry.links.get(name).filter(|linked| linked.is_durable()).map(|linked| linked.link);
        let link =
            moved.get(name).copied().or(known).ok_or(invalid("it is no stream of this subscription"))?;
        let head = heads.get(name).and_then(Option::as_ref).filter(|head| !head.soft_deleted);
        moved.insert(name.clone(), link.acknowledged(offset, head).map_err(invalid)?);
    }
    Ok(moved)
}

fn is_pending_after(entry: &Entry, moved: &BTreeMap<StreamName, Link>) -> bool {
    moved.values().any(Link::is_pending) || entry.pending.iter().any(|name| !moved.contains_key(name))
}

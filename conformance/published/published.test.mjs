// The published suite against the server at HEADWATER_URL. It appends /v1/stream/... to that origin itself.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.HEADWATER_URL
if (!baseUrl) {
  throw new Error("HEADWATER_URL is not set: give the server's origin, such as http://127.0.0.1:4437")
}

// How long the server holds a long-poll open; the suite waits one second more before it gives up.
const longPollTimeoutMs = Number(process.env.HEADWATER_LONG_POLL_TIMEOUT_MS ?? 20_000)
if (!Number.isFinite(longPollTimeoutMs)) {
  throw new Error("HEADWATER_LONG_POLL_TIMEOUT_MS must be a number of milliseconds")
}

runConformanceTests({ baseUrl, longPollTimeoutMs, subscriptions: true })

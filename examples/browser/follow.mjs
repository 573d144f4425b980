// What a page does: follow a stream for as long as it is open, and ask where an answer came from.
import { BackoffDefaults, stream } from "@durable-streams/client"

const PAUSE_MS = 300

/**
 * Gives all items to `onItems`, each once and in order, until the stream is closed. Where the connection breaks, it
 * goes on after the last batch; `onFailure` hears of it.
 */
export async function follow(url, live, onItems, onFailure) {
  const backoffOptions = { ...BackoffDefaults, maxDelay: 2_000, onFailedAttempt: onFailure }
  for (let offset = "-1"; ; ) {
    try {
      const response = await stream({ url, offset, live, backoffOptions })
      response.subscribeJson((batch) => {
        onItems(batch.items)
        offset = batch.offset
      })
      await response.closed
      if (response.streamClosed) return
    } catch (error) {
      onFailure(error)
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

/** Where the first part of a stream came from, and how old it is. `null` is a header that the cache doesn't send. */
export async function cacheStatus(url) {
  const response = await stream({ url, offset: "-1", live: false })
  const { headers } = response
  response.cancel()
  return {
    xCache: headers.get("x-cache"),
    cacheStatus: headers.get("cache-status"),
    ageS: headers.get("age"),
  }
}

// What an application does that follows a stream for as long as it is open. This module has no dependency but the client,
// because a page loads it too.
import { BackoffDefaults, stream } from "@durable-streams/client"

const PAUSE_MS = 50

/**
 * Gives all batches to `onBatch`, in order, until the stream is closed. The client gives up a stream whose connection
 * breaks in the middle of a response: then this goes on after the last batch.
 */
export async function follow(url, { live, offset = "-1", onBatch, onFailure = () => {}, signal }) {
  const backoffOptions = { ...BackoffDefaults, maxDelay: 500, onFailedAttempt: onFailure }
  while (!signal?.aborted) {
    try {
      const response = await stream({ url, offset, live, backoffOptions, signal })
      subscribe(response, (batch) => {
        onBatch(batch)
        offset = batch.offset
      })
      await response.closed
      if (response.streamClosed) return
    } catch (error) {
      if (signal?.aborted) return
      // How fetch reports a broken connection. Anything else is not for waiting.
      if (!(error instanceof TypeError)) throw error
      onFailure(error)
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

/** Subscribes to a response of whatever type. */
export function subscribe(response, onBatch) {
  if (response.contentType.startsWith("application/json")) return response.subscribeJson(onBatch)
  if (response.contentType.startsWith("text/")) return response.subscribeText(onBatch)
  return response.subscribeBytes(onBatch)
}

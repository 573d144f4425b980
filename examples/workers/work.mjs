// What both kinds of workers do with a wake: read what is new in each stream, do the work, say how far they are.

/** The URL of a stream, from the name that a wake gives it. */
export function streamUrl(base, path) {
  return `${base}/${path.split("/").map(encodeURIComponent).join("/")}`
}

/**
 * Does the work of a wake, stream by stream.
 *
 * @param {string} base the stream root, such as http://127.0.0.1:4437/v1/stream
 * @param {{ streams: { path: string, acked_offset: string, has_pending: boolean }[] }} wake
 * @param {(path: string, messages: unknown[]) => Promise<void>} work
 * @param {(acks: { stream: string, offset: string }[], done: boolean) => Promise<unknown>} report
 */
export async function workOff(base, wake, work, report) {
  for (const { path, acked_offset: acked, has_pending: isPending } of wake.streams) {
    if (!isPending) continue
    let offset = acked
    for (;;) {
      const response = await fetch(`${streamUrl(base, path)}?offset=${encodeURIComponent(offset)}`)
      // A stream that was deleted meanwhile is no work.
      if (response.status === 404 || response.status === 410) break
      if (!response.ok) throw new Error(`${path} answers ${response.status}`)
      const messages = await response.json()
      offset = response.headers.get("stream-next-offset")
      if (messages.length > 0) {
        await work(path, messages)
        // First the work, then the word that it is done: after a crash it is done again, and never forgotten. The
        // same request prolongs the lease.
        await report([{ stream: path, offset }], false)
      }
      if (response.headers.has("stream-up-to-date")) break
    }
  }
  return report([], true)
}

/** Sends a JSON request of a worker; gives its answer, or null if the wake is somebody else's by now. */
export async function tell(url, token, body) {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}` }
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })
  if (response.status === 409) throw new Fenced(url)
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`)
  return response.json()
}

/** The lease has ended, and another worker has the wake or will have it. */
export class Fenced extends Error {}

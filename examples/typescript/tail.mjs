// Tails a JSON stream of words into a file until the stream is closed. Started again, it goes on where it was.
//
//     node tail.mjs URL sse|long-poll FILE
import { stream } from "@durable-streams/client"
import { openSaved } from "./saved.mjs"

const [url, live, file] = process.argv.slice(2)
if (!file || !["sse", "long-poll"].includes(live)) throw new Error("usage: node tail.mjs URL sse|long-poll FILE")

const saved = openSaved(file)
const response = await stream({ url, offset: saved.offset, live })

// Whether the stream is closed is not saved: the server says so again to whoever asks from its last offset.
const last = new Promise((resolve) => {
  response.subscribeJson((batch) => {
    if (batch.items.length > 0) saved.append(batch.items, batch.offset)
    if (batch.streamClosed) resolve()
  })
})
await response.closed
if (!response.streamClosed) throw new Error(`the ${live} tail ended before the stream was closed`)
// `closed` may resolve while the body of the last response is still on its way.
await last
saved.close()

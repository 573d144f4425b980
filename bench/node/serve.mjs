// The Node reference server: node serve.mjs PORT [DIRECTORY [LONG_POLL_TIMEOUT_MS]]
// Without a directory, or with an empty one, streams are in memory.
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, directory, longPollTimeout] = process.argv.slice(2)
const server = new DurableStreamTestServer({
  port: Number(port),
  host: "127.0.0.1",
  dataDir: directory || undefined,
  longPollTimeout: longPollTimeout ? Number(longPollTimeout) : undefined,
})
console.log(`listening on ${await server.start()}`)
process.on("SIGTERM", () => process.exit(0))

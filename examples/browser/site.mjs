// The page's own site: three files on a port of its own, so that the streams are another site to it.
import { createServer } from "node:http"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const read = (address) => readFileSync(typeof address === "string" ? new URL(address, import.meta.url) : address)
const FILES = {
  "/": ["text/html", read("index.html")],
  "/follow.mjs": ["text/javascript", read("follow.mjs")],
  "/client.js": ["text/javascript", readFileSync(fileURLToPath(import.meta.resolve("@durable-streams/client")))],
}

/** Serves until the process ends; says where. */
export async function serveSite() {
  const server = createServer((request, response) => {
    const [type, body] = FILES[request.url.split("?")[0]] ?? []
    if (!type) return response.writeHead(404).end()
    response.writeHead(200, { "Content-Type": type }).end(body)
  })
  server.listen(0, "127.0.0.1").unref()
  await once(server, "listening")
  return `http://localhost:${server.address().port}`
}

// The pages' own site, on a port of its own, so that the streams are another origin to them.
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import { fileURLToPath } from "node:url"

const FILES = {
  "/": ["text/html", new URL("page.html", import.meta.url)],
  "/follow.mjs": ["text/javascript", new URL("follow.mjs", import.meta.url)],
  "/client.js": ["text/javascript", import.meta.resolve("@durable-streams/client")],
}

/** Serves until the process ends; says where. */
export async function serveSite() {
  const server = createServer((request, response) => {
    const [type, address] = FILES[request.url] ?? []
    if (!type) return response.writeHead(404).end()
    response.writeHead(200, { "Content-Type": type }).end(readFileSync(fileURLToPath(address)))
  })
  server.listen(0, "127.0.0.1").unref()
  await once(server, "listening")
  return `http://localhost:${server.address().port}`
}

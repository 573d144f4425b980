// The application between a chat's page and its streams: an HTTP server made of a function from Request to Response.
import { once } from "node:events"
import { createServer } from "node:http"

/** Serves until the test or suite is over whose `after` this is. Gives the origin. */
export async function serveApp(after, handle) {
  const server = createServer(async (incoming, outgoing) => {
    const chunks = []
    for await (const chunk of incoming) chunks.push(chunk)
    const { method, headers } = incoming
    const body = chunks.length > 0 ? Buffer.concat(chunks) : undefined
    const request = new Request(`http://${headers.host}${incoming.url}`, { method, headers, body })
    const response = await handle(request)
    outgoing.writeHead(response.status, Object.fromEntries(response.headers))
    outgoing.end(Buffer.from(await response.arrayBuffer()))
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${server.address().port}`
}

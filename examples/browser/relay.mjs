// A wire that can be cut: TCP passes through until `cut` breaks all connections. A browser that is told to be offline
// makes no new connections, but leaves alone those that it has.
import { once } from "node:events"
import { connect, createServer } from "node:net"

/** Listens until the process ends. Gives the address, `HOST:PORT`, and `cut`. */
export async function startRelay(target) {
  const [host, port] = target.split(":")
  const sockets = new Set()
  const server = createServer((reader) => {
    const edge = connect(Number(port), host)
    for (const [from, to] of [[reader, edge], [edge, reader]]) {
      sockets.add(from)
      from.setNoDelay()
      from.on("error", () => to.destroy())
      from.on("close", () => {
        sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  })
  server.listen(0, "127.0.0.1").unref()
  await once(server, "listening")
  const cut = () => sockets.forEach((socket) => socket.resetAndDestroy())
  return { address: `127.0.0.1:${server.address().port}`, cut }
}

// nginx with the configuration of edge/nginx as it is, but for the addresses.
import { spawn } from "node:child_process"
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

const CONFIGURATION = fileURLToPath(new URL("../../edge/nginx", import.meta.url))
const READY_TIMEOUT_MS = 10_000

/** Starts nginx before the origin; it ends with this process. Gives `HOST:PORT` of where it listens. */
export async function startNginx(origin) {
  const dir = mkdtempSync(join(tmpdir(), "headwater-nginx-"))
  // If we are root, nginx's workers are somebody else.
  chmodSync(dir, 0o755)
  cpSync(CONFIGURATION, dir, { recursive: true })
  const port = await freePort()
  const inner = `127.0.0.1:${await freePort()}`
  const upstream = (name, server) => `upstream ${name} { server ${server}; keepalive 64; }\n`
  writeFileSync(join(dir, "origin.conf"), upstream("headwater", origin) + upstream("headwater_inner", inner))
  writeFileSync(join(dir, "inner.conf"), `listen ${inner};\n`)
  writeFileSync(join(dir, "listen.conf"), `listen 127.0.0.1:${port};\n`)

  const path = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`
  const args = ["-p", dir, "-c", "nginx.conf", "-g", "daemon off;"]
  const nginx = spawn("nginx", args, { stdio: ["ignore", "inherit", "pipe"], env: { ...process.env, PATH: path } })
  let said = ""
  nginx.stderr.on("data", (text) => (said += text))
  nginx.on("error", (error) => (said += error.message))
  process.on("exit", () => {
    // Not SIGKILL: that would leave its workers behind.
    nginx.kill("SIGTERM")
    rmSync(dir, { recursive: true, force: true })
  })
  for (const deadline = Date.now() + READY_TIMEOUT_MS; !(await listens(port)); await sleep(20)) {
    if (nginx.exitCode !== null || Date.now() > deadline) throw new Error(`nginx doesn't start: ${said}`)
  }
  return `127.0.0.1:${port}`
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address()
  server.close()
  await once(server, "close")
  return port
}

function listens(port) {
  const socket = connect(port, "127.0.0.1")
  return new Promise((resolve) => {
    socket.on("connect", () => resolve(true))
    socket.on("error", () => resolve(false))
  }).finally(() => socket.destroy())
}

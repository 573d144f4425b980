// A server of its own for each file of tests: started on an empty folder and a port that stays, killed and started again.
//
//     HEADWATER_BINARY    the server
//     HEADWATER_STORE     rocksdb (the default) or mem
//     HEADWATER_DATA_DIR  a folder for the data and logs of all files; the default is a temporary one
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { startRelay } from "../../examples/browser/relay.mjs"
import { until, within } from "./wait.mjs"

const BINARY = process.env.HEADWATER_BINARY
if (!BINARY) throw new Error("HEADWATER_BINARY names no server; `cargo xtask clients` does that")

const BASE_PATH = "/v1/stream"
const LISTENING = /^listening on http:\/\//m
// No outgoing connection is made from these, so that nothing takes the port while the server is down.
const PORT_MIN = 20_000
const PORT_MAX = 32_000
const LINGER_MS = 500

/** What a file of tests may take, for `describe`. */
export const LIMIT = { timeout: 120_000 }

/** Flags with which what was there before comes in several responses. */
export const SMALL_CHUNKS = ["--chunk-size", "4KiB"]
/** Whether streams are still there after a restart. */
export const durable = (process.env.HEADWATER_STORE ?? "rocksdb") === "rocksdb"

/** What `Server.interrupt` does, for the names of tests. */
export function over(signal) {
  if (signal === "SIGKILL") return durable ? "over a kill and a restart" : "over cut connections"
  return durable ? "over an orderly restart" : "without a restart"
}

/** Starts a server; `name` names its folder. It ends with this process, if not before. */
export async function startServer(name, flags = SMALL_CHUNKS) {
  const server = new Server(name, flags, await freePort())
  await server.start()
  if (!durable) server.relay = await startRelay(server.address)
  return server
}

class Server {
  constructor(name, flags, port) {
    const parent = process.env.HEADWATER_DATA_DIR ?? mkdtempSync(join(tmpdir(), "headwater-clients-"))
    const folder = join(parent, name)
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    this.logPath = join(folder, "server.log")
    this.address = `127.0.0.1:${port}`
    this.args = ["--listen", this.address, "--store", durable ? "rocksdb" : "mem"]
    this.args.push("--data-dir", join(folder, "data"), ...flags)
    process.on("exit", () => this.process?.kill("SIGKILL"))
  }

  /** Where clients find the server, without a path. */
  get origin() {
    return `http://${this.relay?.address ?? this.address}`
  }

  /** The URL of a stream. */
  url(name) {
    return `${this.origin}${BASE_PATH}/${name}`
  }

  async start() {
    const server = spawn(BINARY, this.args, { stdio: ["ignore", "pipe", "pipe"] })
    server.stderr.pipe(createWriteStream(this.logPath, { flags: "a" }))
    this.process = server
    this.exited = once(server, "exit")
    await within(`the server listens on ${this.address}; its log is ${this.logPath}`, this.#listens(server))
  }

  async #listens(server) {
    let said = ""
    for await (const text of server.stdout.iterator({ destroyOnReturn: false })) {
      said += text
      if (LISTENING.test(said)) return server.stdout.resume()
    }
    throw new Error(`the server doesn't start: ${readFileSync(this.logPath, "utf8").slice(-2_000)}`)
  }

  /** Ends the server by a signal. SIGTERM must be obeyed in order. */
  async stop(signal = "SIGTERM") {
    const [server, exited] = [this.process, this.exited]
    this.process = undefined
    server.kill(signal)
    const [code] = await within(`the end of the server after ${signal}; its log is ${this.logPath}`, exited)
    if (signal === "SIGTERM" && code !== 0) throw new Error(`exit code ${code} after SIGTERM; see ${this.logPath}`)
  }

  /** What the last hook of a file does. */
  async end() {
    await this.stop()
    // Some clients leave requests behind that they repeat for ever.
    setTimeout(() => process.exit(), LINGER_MS).unref()
  }

  /**
   * What clients have to get over: a restart. In memory nothing would be left after it, so there what a kill does to
   * connections has to do, and SIGTERM does nothing.
   */
  async interrupt(signal) {
    if (durable) {
      await this.stop(signal)
      await this.start()
    } else if (signal === "SIGKILL") {
      this.relay.cut()
    }
    // Once this is answered, the process knows of all its broken connections, and uses none of them again.
    const answer = async () => (await fetch(this.origin)).text()
    await until("the server answers again", () => answer().catch(() => false))
  }
}

async function freePort() {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN))
    const probe = createServer().listen(port, "127.0.0.1")
    try {
      await once(probe, "listening")
    } catch {
      continue
    }
    probe.close()
    await once(probe, "close")
    return port
  }
}

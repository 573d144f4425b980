// A webhook worker: an HTTP server that takes only what the stream server has signed.
//
//     node webhook.mjs BASE_URL [PORT]
import { createServer } from "node:http"
import { verifier } from "./verify.mjs"
import { Fenced, tell, workOff } from "./work.mjs"

/** The largest webhook that is read: one names at most 1,000 streams. */
const BODY_BYTES_MAX = 2 << 20

/**
 * @param {string} base the stream root
 * @param {(path: string, messages: unknown[]) => Promise<void>} work
 */
export function webhookWorker(base, work) {
  const verify = verifier(`${base}/__ds/jwks.json`)
  return createServer(async (request, response) => {
    const answer = (status, body = {}) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
    }
    try {
      const chunks = []
      let bytes = 0
      for await (const chunk of request) {
        bytes += chunk.length
        if (bytes > BODY_BYTES_MAX) return answer(413)
        chunks.push(chunk)
      }
      const rawBody = Buffer.concat(chunks)
      if (!(await verify(rawBody, request.headers["webhook-signature"]))) return answer(401)
      const wake = JSON.parse(rawBody.toString())
      // Received: the server waits for the callbacks now, for as long as the lease lasts. Work that takes no time may
      // be done here, and answered with { "done": true }.
      answer(200)
      const { wake_id, generation, callback_url, callback_token } = wake
      const report = (acks, done) => tell(callback_url, callback_token, { wake_id, generation, acks, done })
      await workOff(base, wake, work, report)
    } catch (error) {
      if (!response.headersSent) answer(500)
      // Whatever happens: what wasn't acknowledged comes again when the lease has ended.
      if (!(error instanceof Fenced)) console.error("webhook worker:", error.message)
    }
  })
}

if (process.argv[1]?.endsWith("/webhook.mjs")) {
  const [base = "http://127.0.0.1:4437/v1/stream", port = "8787"] = process.argv.slice(2)
  const work = async (path, messages) => messages.forEach((message) => console.log(path, JSON.stringify(message)))
  webhookWorker(base, work).listen(Number(port), "127.0.0.1", () => {
    console.log(`waiting for webhooks at http://127.0.0.1:${port}/`)
  })
}

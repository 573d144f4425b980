// Verifies `Webhook-Signature` (section 7.1 of the protocol) with the server's public keys. Nothing but node is needed.

/** How old or how far ahead a signature may be. */
const TOLERANCE_S = 300
/** An unknown key id makes the set be read again, but not more often than this. */
const RELOAD_MS = 10_000

/**
 * A function that says whether a webhook is the server's. Give it the URL of the key set from your own configuration,
 * never from a request.
 *
 * @param {string} jwksUrl such as https://streams.example/v1/stream/__ds/jwks.json
 * @returns {(rawBody: Buffer, header: string | undefined) => Promise<boolean>}
 */
export function verifier(jwksUrl) {
  /** @type {Map<string, CryptoKey>} */
  let keys = new Map()
  let loadedAt = -Infinity

  async function load() {
    if (Date.now() - loadedAt < RELOAD_MS) return
    loadedAt = Date.now()
    const response = await fetch(jwksUrl)
    if (!response.ok) throw new Error(`${jwksUrl} answers ${response.status}`)
    const set = await response.json()
    const entries = set.keys.map(async ({ kty, crv, x, kid }) => {
      const key = await crypto.subtle.importKey("jwk", { kty, crv, x }, { name: "Ed25519" }, false, ["verify"])
      return /** @type {[string, CryptoKey]} */ ([kid, key])
    })
    keys = new Map(await Promise.all(entries))
  }

  return async function verify(rawBody, header) {
    const parts = /^t=(\d+),kid=([^,]+),ed25519=([A-Za-z0-9_-]+)$/.exec(header ?? "")
    if (!parts) return false
    const [, time, kid, signature] = parts
    if (Math.abs(Date.now() / 1000 - Number(time)) > TOLERANCE_S) return false
    if (!keys.has(kid)) await load()
    const key = keys.get(kid)
    if (!key) return false
    // The exact bytes that came: a body that was parsed and written again is another one.
    const signed = Buffer.concat([Buffer.from(`${time}.`), rawBody])
    return crypto.subtle.verify({ name: "Ed25519" }, key, Buffer.from(signature, "base64url"), signed)
  }
}

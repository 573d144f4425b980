// Headwater behind a Cloudflare Worker. It keeps answers in caches.default, of one data centre, as their Cache-Control
// says. It can't collapse requests: two readers who wait for the same event are two requests to the origin. Cache rules
// without a Worker can (cache-rules.json); README.md says which to take.

// The arguments that count, in their one order. They are in the key, and they are all that the origin gets to see.
const ARGUMENTS = ["cursor", "live", "offset"]
// The origin's --base-path. What lies beside it, such as /health, is nobody's business out here.
const BASE_PATH = "/v1/stream/"

export default {
  /** `env.ORIGIN` is where Headwater is: `https://origin.example`. */
  async fetch(request, env, context) {
    const url = new URL(request.url)
    if (!url.pathname.startsWith(BASE_PATH)) return new Response(null, { status: 404 })
    if (!mayBeKept(request, url)) {
      const answer = await fetch(new Request(env.ORIGIN + url.pathname + url.search, request))
      return marked(answer, "BYPASS", url.origin)
    }

    const path = url.pathname + sortedQuery(url)
    const key = await keyOf(request, url.origin + path)
    // The validator goes along, so that the cache can say 304.
    const kept = await caches.default.match(key)
    if (kept) return marked(kept, "HIT")

    const answer = await fetch(env.ORIGIN + path, { headers: forOrigin(request.headers) })
    if (isShared(answer)) context.waitUntil(caches.default.put(key, answer.clone()))
    return marked(answer, "MISS")
  },
}

/** HEAD must tell the tail of now; reads from `now`, without an offset or as events are made for one reader. */
export function mayBeKept(request, url) {
  const offset = url.searchParams.get("offset")
  const live = url.searchParams.get("live")
  return request.method === "GET" && offset && offset !== "now" && (live === null || live === "long-poll")
}

/** `?cursor=…&live=…&offset=…`, of those that are there. Repeated ones stay repeated: the origin refuses them. */
export function sortedQuery(url) {
  const sorted = new URLSearchParams()
  for (const name of ARGUMENTS) for (const value of url.searchParams.getAll(name)) sorted.append(name, value)
  return `?${sorted}`
}

/** The URL and who asks: readers with different credentials never share an answer. The hash keeps them out of logs. */
export async function keyOf(request, address) {
  const url = new URL(address)
  const credentials = request.headers.get("authorization")
  if (credentials !== null) {
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(credentials))
    const hex = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")
    url.searchParams.set("credentials", hex)
  }
  const validator = request.headers.get("if-none-match")
  return new Request(url, { headers: validator === null ? {} : { "If-None-Match": validator } })
}

/** A shared cache may keep it for a while. */
export function isShared(answer) {
  const rule = answer.headers.get("cache-control") ?? ""
  const age = /(?:^|[\s,])max-age=(\d+)/i.exec(rule)
  const kind = answer.status === 200 || answer.status === 204
  return kind && /\bpublic\b/i.test(rule) && !/\b(private|no-store|no-cache)\b/i.test(rule) && Number(age?.[1]) > 0
}

/** What is kept must be whole, so the origin is asked without the reader's conditions. */
function forOrigin(headers) {
  const whole = new Headers(headers)
  for (const name of ["if-none-match", "if-modified-since", "range"]) whole.delete(name)
  return whole
}

/** Says whether it was kept, and names a new stream as its readers do: the origin only knows its own name. */
function marked(answer, word, edge) {
  const status = { HIT: "worker; hit", MISS: "worker; fwd=uri-miss", BYPASS: "worker; fwd=bypass" }
  const own = new Response(answer.body, answer)
  own.headers.set("X-Cache", word)
  own.headers.append("Cache-Status", status[word])
  const location = own.headers.get("location")
  if (location !== null) own.headers.set("Location", edge + new URL(location).pathname)
  return own
}

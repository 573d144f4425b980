// Waiting for something that is going to be true. Every wait is bounded, and says what didn't come.
import { setTimeout as sleep } from "node:timers/promises"

export const WAIT_MS = 20_000
const PAUSE_MS = 10

/** Waits until `condition` is true, or gives something that is. `shown` says how far it got, for the error. */
export async function until(what, condition, shown = () => "") {
  for (const deadline = Date.now() + WAIT_MS; ; await sleep(PAUSE_MS)) {
    const found = await condition()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`not after ${WAIT_MS / 1000} s: ${what} ${shown()}`.trim())
  }
}

/** Gives what the promise gives, unless that takes too long. */
export async function within(what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not after ${WAIT_MS / 1000} s: ${what}`)), WAIT_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** A promise that others fulfil: the point that one side of a test waits for and the other side reaches. */
export function gate() {
  let open
  const opened = new Promise((resolve) => (open = resolve))
  return { open, opened }
}

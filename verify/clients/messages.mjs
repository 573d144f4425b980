// Numbered messages for streams of each type, and readers that count them.
import assert from "node:assert/strict"
import { follow } from "./follow.mjs"
import { until } from "./wait.mjs"

const RECORD_BYTES = 4

/** The types of streams that clients tell apart: how a message is written, and found again in what was read. */
export const KINDS = [
  {
    name: "JSON",
    contentType: "application/json",
    message: (n) => JSON.stringify({ n }),
    empty: () => [],
    add: (all, batch) => all.concat(batch.items.map(({ n }) => n)),
    numbers: (all) => all,
  },
  {
    name: "text",
    contentType: "text/plain",
    // Letters of two and four bytes, which events and responses must not tear apart.
    message: (n) => `${n} Grüße 🌊\n`,
    empty: () => "",
    add: (all, batch) => all + batch.text,
    numbers: (all) => all.split("\n").slice(0, -1).map(lineNumber),
  },
  {
    name: "bytes",
    contentType: "application/octet-stream",
    message(n) {
      const record = Buffer.alloc(RECORD_BYTES)
      record.writeUInt32BE(n)
      return new Uint8Array(record)
    },
    empty: () => Buffer.alloc(0),
    add: (all, batch) => Buffer.concat([all, batch.data]),
    numbers: (all) => Array.from({ length: all.length / RECORD_BYTES }, (_, at) => all.readUInt32BE(at * RECORD_BYTES)),
  },
]

function lineNumber(line) {
  const [number, ...rest] = line.split(" ")
  assert.equal(rest.join(" "), "Grüße 🌊", "a line that nobody wrote")
  return Number(number)
}

/** A reader that follows a stream and keeps what it gets, until the test `t` is over. */
export class Reader {
  constructor(t, kind, url, { live, offset }) {
    this.kind = kind
    this.live = live
    this.all = kind.empty()
    this.failures = 0
    this.done = false
    const onBatch = (batch) => (this.all = kind.add(this.all, batch))
    const onFailure = () => this.failures++
    const aborter = new AbortController()
    t.after(() => aborter.abort())
    const options = { live, offset, onBatch, onFailure, signal: aborter.signal }
    this.end = follow(url, options).then(() => (this.done = true))
    // Whoever waits for the reader sees its error; until then it is not an unhandled one.
    this.end.catch((error) => (this.error = error))
  }

  get numbers() {
    return this.kind.numbers(this.all)
  }

  /** Waits until the reader has so many messages. */
  has(count) {
    const enough = () => {
      if (this.error) throw this.error
      return this.numbers.length >= count
    }
    return until(`${count} messages by ${this.live}`, enough, () => `(${this.numbers.length} came)`)
  }

  /** Waits until the reader knows that the stream is closed, and checks that it has these messages, each once, in order. */
  async hasExactly(first, count) {
    await this.has(count)
    await until(`the end of the stream by ${this.live}`, () => this.done || this.error)
    await this.end
    eachOnce(this.numbers, first, count)
  }
}

/** Whether these are the messages from `first` on. Says where it goes wrong, as 10,000 numbers say nothing. */
export function eachOnce(numbers, first, count) {
  const wrong = numbers.findIndex((n, at) => n !== first + at)
  const around = numbers.slice(Math.max(0, wrong - 3), wrong + 3)
  assert.equal(wrong, -1, `the first wrong message is at ${wrong}: … ${around.join(", ")} …`)
  assert.equal(numbers.length, count)
}

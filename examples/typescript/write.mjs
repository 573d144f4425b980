// Streams text.txt word by word into a JSON stream, at the pace of a language model, and closes it.
//
//     node write.mjs URL
import { readFileSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { DurableStream, IdempotentProducer } from "@durable-streams/client"

const MS_PER_WORD = 2

const url = process.argv[2]
if (!url) throw new Error("usage: node write.mjs URL")

// A word keeps the white space after it, so that the words joined are the text again.
const text = readFileSync(new URL("text.txt", import.meta.url), "utf8")
const words = text.match(/\S+\s*/gu)

const stream = new DurableStream({ url, contentType: "application/json" })
let failure
const producer = new IdempotentProducer(stream, "writer", { onError: (error) => (failure ??= error) })

for (const word of words) {
  // Returns at once: the producer sends what has gathered, several requests at a time, each exactly once.
  producer.append(JSON.stringify(word))
  await sleep(MS_PER_WORD)
  if (failure) throw failure
}
const { finalOffset } = await producer.close()
if (failure) throw failure
console.log(`wrote ${words.length} words; the stream is closed at ${finalOffset}`)

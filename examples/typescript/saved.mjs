// What a tail has received, in a file that is right after a kill at any moment.
//
// Each line is one batch: its words and the offset after them, written by a single write. Words without their offset
// (they would come twice) or an offset without its words (they would be lost) cannot be in the file; half a line can,
// if the kill came during the write, and is cut off before the tail goes on.
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs"

// Opens the file, or makes it, and says where to go on from.
export function openSaved(file) {
  const fd = openSync(file, "a+")
  const bytes = readFileSync(file)
  const whole = bytes.subarray(0, bytes.lastIndexOf("\n") + 1)
  ftruncateSync(fd, whole.length)
  return {
    offset: parse(whole).at(-1)?.offset ?? "-1",
    append(words, offset) {
      const line = Buffer.from(JSON.stringify({ offset, words }) + "\n")
      if (writeSync(fd, line) !== line.length) throw new Error(`${file}: the disk took only a part of a line`)
    },
    close: () => closeSync(fd),
  }
}

// The words of all whole lines. Safe to call while a tail is writing.
export function savedWords(file) {
  const bytes = readFileSync(file)
  return parse(bytes.subarray(0, bytes.lastIndexOf("\n") + 1)).flatMap((batch) => batch.words)
}

function parse(bytes) {
  return bytes.toString().split("\n").filter(Boolean).map((line) => JSON.parse(line))
}

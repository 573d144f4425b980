// A vitest reporter that writes a short line now and then: the JSON report holds everything else.
const EVERY = 50

export default class Progress {
  #done = 0
  #failed = 0

  onTestCaseResult(testCase) {
    const { state } = testCase.result()
    if (state === "skipped") return
    this.#done += 1
    if (state === "failed") {
      this.#failed += 1
      process.stderr.write(`  failed: ${testCase.fullName}\n`)
    }
    if (this.#done % EVERY === 0) process.stderr.write(`  ${this.#done} tests done, ${this.#failed} failed\n`)
  }
}

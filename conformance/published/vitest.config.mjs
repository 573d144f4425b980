import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["published.test.mjs"],
    // Vitest's default is 5 s. Some tests wait up to 3 s for a stream to expire, on top of their own requests,
    // and a busy two-core machine must not turn that into a failure.
    testTimeout: 20_000,
    // A failure is a finding: never retried, never averaged away.
    retry: 0,
    passWithNoTests: false,
    reporters: ["./progress.mjs", "json"],
  },
})

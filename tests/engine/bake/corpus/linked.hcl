# bake: *app
target "base" {
  dockerfile   = "base.Dockerfile"
  entitlements = ["security.insecure"]
  platforms    = ["linux/amd64", "linux/arm64"]
  tags         = ["base:1"]
}
target "middle" {
  contexts = { base = "target:base" }
  inherits = ["_meta"]
}
target "_meta" {
  annotations = ["manifest:a=b"]
  attest      = ["type=sbom,disabled=true"]
}
target "webapp" {
  contexts  = { m = "target:middle" }
  platforms = ["linux/arm64"]
}
target "cliapp" {
  context    = BAKE_CMD_CONTEXT
  dockerfile = "cwd://x/Dockerfile"
  policy     = [{ filename = "p.rego", strict = true }]
}

# bake: app lint
group "default" { targets = ["app"] }

target "app" {
  name = "app-${tgt}-${replace(version, ".", "-")}"
  matrix = {
    version = ["1.20", "1.21"]
    tgt     = ["api", "worker"]
  }
  target = tgt
  args = {
    GO_VERSION = version
  }
  tags = tgt == "api" ? ["app:${version}"] : []
}

target "lint" {
  name   = "lint-${item.name}"
  matrix = {
    item = [
      { name = "go", file = "lint/go.Dockerfile", extra = { a = 1 } },
      { name = "js", file = "lint/js.Dockerfile", extra = {} },
    ]
  }
  inherits   = ["_lint"]
  dockerfile = item.file
  labels     = item.extra
}

target "_lint" {
  output = ["type=cacheonly"]
}

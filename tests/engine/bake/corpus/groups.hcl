# bake: all
group "default" {
  targets = ["web", "jobs"]
}

group "jobs" {
  description = "what runs at night"
  targets     = ["report", "cleanup", "report"]
}

group "all" {
  targets = ["default", "jobs", "docs"]
}

target "_common" {
  args = {
    GO_VERSION = "1.22"
    DEBUG      = null
    LEVEL      = 3
    STRICT     = true
  }
  labels   = { "org.opencontainers.image.vendor" = "Example & Sons <ops@example.com>" }
  pull     = true
  platforms = ["linux/amd64", "linux/amd64", ""]
}

target "web" {
  inherits = ["_common"]
  context  = "./services/../web/"
  tags     = ["registry.example.com/web:latest", "registry.example.com/web:latest"]
  args     = { LEVEL = "4" }
}

target "report" {
  inherits   = ["_common", "_night"]
  dockerfile = "report.Dockerfile"
  target     = "release"
}

target "_night" {
  no-cache        = true
  no-cache-filter = ["build", "test", "build"]
  labels          = { schedule = "night" }
  platforms       = ["linux/arm64"]
}

target "cleanup" {
  dockerfile-inline = <<-EOT
    FROM busybox
    ARG WHAT
      RUN echo $${WHAT} "%%{x}"
  EOT
  network = "host"
}

target "docs" {
  context = "https://git.example.com/docs.git#main:site"
}

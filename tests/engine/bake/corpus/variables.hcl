# bake: default
variable "TAG" {
  default     = "dev"
  description = "what images are tagged with"
}
variable "REGISTRY" { default = "registry.example.com" }
variable "REPLICAS" { default = 2 }
variable "RELEASE" { default = false }
variable "EMPTY" {}
variable "NAMES" {
  type    = list(string)
  default = ["a", "b"]
}
variable "PORTS" {
  type    = map(number)
  default = { http = 80, https = "443" }
}
variable "NOTHING" {
  type = string
}
variable "VERSION" {
  default = "1.4.2"
  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", VERSION))
    error_message = "VERSION must be three numbers."
  }
}

full = "${REGISTRY}/app"
parts = split(".", VERSION)

function "image" {
  params          = [name]
  variadic_params = rest
  result          = [for tag in concat([TAG], rest) : "${full}/${name}:${tag}"]
}
function "double" {
  params = [n]
  result = n * 2
}

target "default" {
  tags = concat(image("web", VERSION, join(".", slice(parts, 0, 2))), RELEASE ? ["${full}/web:stable"] : [])
  args = {
    REPLICAS = double(REPLICAS)
    HALF     = REPLICAS / 4
    EMPTY    = EMPTY
    NAMES    = join(",", NAMES)
    HTTPS    = PORTS.https + 1
    NOTHING  = NOTHING == null ? "none" : NOTHING
    CHOICE   = "%{ if REPLICAS > 1 }many%{ else }one%{ endif }"
    LOOP     = "%{ for n in NAMES ~} <${n}> %{~ endfor }"
    UPPER    = upper(TAG)
    CMD      = BAKE_CMD_CONTEXT
  }
  labels = { for name, port in PORTS : "port.${name}" => port }
}

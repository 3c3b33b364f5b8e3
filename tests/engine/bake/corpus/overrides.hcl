# bake: --set=*.tags=x:1 --set=a*.args.A=2 --set=app.platform=linux/arm64 --set=api.cache-from=type=local,src=c --set=api.cache-from=more --set=app.output+=type=tar,dest=x --set=*.push=true --set=app.no-cache=true --set=app.secret.token=env=T --set=app.labels.x=y --set=api.contexts.z=docker-image://z --set=api.load=true --set=api.resources.memory=1g --set=app.annotations=z=1 --set=app.extra-hosts.h=1.2.3.4 --set=app.attest=type=sbom --var=V=given app api
variable "V" { default = "not" }
target "app" {
  tags      = ["a:1"]
  args      = { A = "1", V = V }
  platforms = ["linux/amd64"]
  output    = ["type=image"]
  secret    = ["id=token,src=token"]
  annotations = ["a=b"]
}
target "api" {
  inherits = ["app"]
  output = ["type=docker"]
}

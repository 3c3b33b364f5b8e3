# bake: full other
target "full" {
  description = "everything at once"
  context     = "."
  contexts = {
    base   = "target:other"
    alpine = "docker-image://alpine:3.20"
    src    = "./src"
    gone   = ""
    layout = "oci-layout://./layout:tag"
  }
  annotations = ["key=value", "index,manifest:org.example.a=b", "key=value"]
  attest = [
    "type=provenance,mode=max",
    { type = "sbom", generator = "example/scanner" },
    { type = "provenance", mode = "min" },
  ]
  cache-from = ["user/app:cache", "type=local,src=path/to/cache", { type = "registry", ref = "user/repo:cache" }]
  cache-to   = ["type=local,dest=path/to/cache,mode=max", { type = "inline" }]
  secret     = ["id=token,src=./token", { id = "env", env = "TOKEN" }, "type=env,id=other,src=OTHER", "id=token,env=T"]
  ssh        = ["default", { id = "key", paths = ["a", "b"] }, "more=x,y"]
  output     = ["type=image,\"name=a,b\"", { type = "local", dest = "out" }, "bin", "type=tar,dest=x.tar"]
  ulimits    = ["nofile=1024:2048"]
  shm-size   = "128m"
  extra-hosts = { db = "10.0.0.1" }
  entitlements = ["security.insecure"]
  resources  = { memory = "512m", cpu-shares = 512, cpu-quota = 50000 }
  call       = "check"
  pull       = "true"
  args       = { "${"a"}b" = "literal $${x} & <y>" }
  target     = ""
}
target "other" {
  network = "none"
  output  = []
  tags    = target.full.contexts.alpine == "docker-image://alpine:3.20" ? ["other:1"] : null
  cache-from = target.full.cache-from
  args    = { FIRST = target.full.args.ab }
  entitlements = ["network.host"]
}

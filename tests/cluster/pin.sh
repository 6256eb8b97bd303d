#!/usr/bin/env bash
# Writes the versions of versions.env into the Go module folders (go.mod, go.sum), so that every build of the
# cluster's parts uses exactly the sources that were reviewed. Run by a person after a version changed; build.sh
# itself never changes a go.mod or go.sum.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=versions.env
source versions.env
go_language=$(go env GOVERSION | sed -E 's/^go([0-9]+\.[0-9]+).*/\1/')

# start FOLDER MODULE VERSION MAIN_PACKAGE...: a module that requires MODULE and names the programs we build from it.
start() {
  local folder=$1 module=$2 version=$3 package
  shift 3
  cd "$folder"
  rm -f go.mod go.sum
  go mod init "tocsin.dev/tests/cluster/$folder" 2>/dev/null
  go mod edit -go="$go_language" -require="$module@v$version"
  for package in "$@"; do go mod edit -tool="$package"; done
}

finish() {
  go mod tidy
  cd ..
}

start kubernetes k8s.io/kubernetes "$KUBERNETES_VERSION" \
  k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl,kube-proxy}
# Kubernetes names its staging modules at v0.0.0, which exist only inside its own tree: replace each by its release.
staging_version=v0.${KUBERNETES_VERSION#1.}
kubernetes_go_mod=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" | sed -nE 's/.*"GoMod": "(.*)".*/\1/p')
for module in $(sed -nE 's/^\s+(k8s\.io\/\S+) v0\.0\.0( .*)?$/\1/p' "$kubernetes_go_mod"); do
  go mod edit -replace="$module=$module@$staging_version"
done
finish

start etcd go.etcd.io/etcd/server/v3 "$ETCD_VERSION" go.etcd.io/etcd/server/v3
finish

start containerd github.com/containerd/containerd/v2 "$CONTAINERD_VERSION" \
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
finish

start runc github.com/opencontainers/runc "$RUNC_VERSION" github.com/opencontainers/runc
finish

# Its main.go is ours: it names the plugins.
start coredns github.com/coredns/coredns "$COREDNS_VERSION"
finish

start kwok sigs.k8s.io/kwok "$KWOK_VERSION" sigs.k8s.io/kwok/cmd/kwok
finish

start helm4 helm.sh/helm/v4 "$HELM4_VERSION" helm.sh/helm/v4/cmd/helm
finish

start unittest github.com/helm-unittest/helm-unittest "$UNITTEST_VERSION" \
  github.com/helm-unittest/helm-unittest/cmd/helm-unittest
# What it replaces in its own go.mod does not count in ours.
unittest_go_mod=$(go mod download -json "github.com/helm-unittest/helm-unittest@v$UNITTEST_VERSION" | sed -nE 's/.*"GoMod": "(.*)".*/\1/p')
while read -r module version _ replacement its_version; do
  go mod edit -replace="$module@$version=$replacement@$its_version"
done < <(sed -nE 's/^replace (.*)$/\1/p' "$unittest_go_mod")
finish

start helm3 helm.sh/helm/v3 "$HELM3_VERSION" helm.sh/helm/v3/cmd/helm
finish

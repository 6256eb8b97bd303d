#!/usr/bin/env bash
# Builds what tests run that is not ours (versions.env) into .cache/cluster/<name>-<version>/ at the top of the repository.
#   build.sh         the parts of a test cluster, and the Debian packages they need
#   build.sh chart   both helms, helm-unittest, and Debian's Prometheus
# What is there already is skipped, so it is cheap to call before each run. From nothing the cluster takes about 11 minutes
# on 2 idle cores, the helms and their like take 5. Needs Go 1.26, and Debian; the cluster also gcc, and root for the packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache
# shellcheck source=versions.env
source "$here/versions.env"

# The go.sum files pin every source; nothing that the machine has set may loosen that.
export GOFLAGS="-mod=readonly -trimpath -buildvcs=false"
plain_ldflags="-s -w"
# Without this the API server calls itself v0.0.0, and clients judge its features by that.
component_base=k8s.io/component-base/version
IFS=. read -r kubernetes_major kubernetes_minor _ <<<"$KUBERNETES_VERSION"
kubernetes_ldflags="$plain_ldflags -X $component_base.gitVersion=v$KUBERNETES_VERSION \
-X $component_base.gitMajor=$kubernetes_major -X $component_base.gitMinor=$kubernetes_minor"

say() { printf '%-44s %s\n' "$1" "$2" >&2; }

# A machine that has all packages is not asked for root, nor for a network.
install_debian_packages() {
  local wanted=(iproute2 iptables util-linux busybox-static containernetworking-plugins libseccomp-dev pkg-config libc6-dev)
  local missing=() package started=$SECONDS
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  say "Debian packages" "$((SECONDS - started)) s (${#missing[@]} new)"
}

# part NAME-VERSION FILE COMMAND...: unless FILE is there, runs COMMAND with the path to write as its last argument.
# The file is moved into place at the end: an interrupted build leaves nothing that looks finished.
part() {
  local folder=$cache/cluster/$1 file=$2 started=$SECONDS
  shift 2
  if [ -x "$folder/$file" ]; then
    say "$(basename "$folder")/$file" "there"
    return
  fi
  mkdir -p "$folder"
  "$@" "$folder/.$file.new"
  mv "$folder/.$file.new" "$folder/$file"
  say "$(basename "$folder")/$file" "$((SECONDS - started)) s"
}

# go_program MODULE_FOLDER MODULE@VERSION CGO TAGS LDFLAGS PACKAGE OUTPUT
go_program() {
  local folder=$1 module=${2%@*} version=${2#*@} cgo=$3 tags=$4 ldflags=$5 package=$6 output=$7
  cd "$here/$folder"
  if [ "$(go list -m -f '{{.Version}}' "$module")" != "v$version" ]; then
    echo "$folder/go.mod does not have $module v$version of versions.env: run $here/pin.sh" >&2
    exit 1
  fi
  CGO_ENABLED=$cgo go build -tags "$tags" -ldflags "$ldflags" -o "$output" "$package"
}

pause_program() { gcc -Os -static -s -o "$1" "$here/pause.c"; }

kubernetes() {
  part "kubernetes-$KUBERNETES_VERSION" "$1" go_program kubernetes "k8s.io/kubernetes@$KUBERNETES_VERSION" \
    0 "" "$kubernetes_ldflags" "k8s.io/kubernetes/cmd/$1"
}

containerd() {
  part "containerd-$CONTAINERD_VERSION" "$1" go_program containerd \
    "github.com/containerd/containerd/v2@$CONTAINERD_VERSION" \
    0 "no_btrfs no_devmapper no_zfs" "$plain_ldflags" "github.com/containerd/containerd/v2/cmd/$1"
}

cluster() {
  install_debian_packages
  kubernetes kube-apiserver
  part "etcd-$ETCD_VERSION" etcd go_program etcd "go.etcd.io/etcd/server/v3@$ETCD_VERSION" \
    0 "" "$plain_ldflags" go.etcd.io/etcd/server/v3
  containerd containerd
  containerd containerd-shim-runc-v2
  containerd ctr
  part "runc-$RUNC_VERSION" runc go_program runc "github.com/opencontainers/runc@$RUNC_VERSION" \
    1 seccomp "$plain_ldflags" github.com/opencontainers/runc
  part "pause-$PAUSE_VERSION" pause pause_program
  part "coredns-$COREDNS_VERSION" coredns go_program coredns "github.com/coredns/coredns@$COREDNS_VERSION" \
    0 "" "$plain_ldflags" .
  part "kwok-$KWOK_VERSION" kwok go_program kwok "sigs.k8s.io/kwok@$KWOK_VERSION" \
    0 "" "$plain_ldflags" sigs.k8s.io/kwok/cmd/kwok
  for program in kubelet kube-controller-manager kube-scheduler kubectl kube-proxy; do kubernetes "$program"; done
}

helm() {
  part "helm4-$HELM4_VERSION" helm go_program helm4 "helm.sh/helm/v4@$HELM4_VERSION" \
    0 "" "$plain_ldflags" helm.sh/helm/v4/cmd/helm
  # Without these it renders for Kubernetes 1.20 unless told otherwise. helm 4 finds them by itself.
  local client_go minor
  client_go=$(cd "$here/helm3" && go list -m -f '{{.Version}}' k8s.io/client-go)
  minor=${client_go#v0.}
  minor=${minor%%.*}
  local helm3_ldflags=$plain_ldflags package
  for package in chartutil lint/rules; do
    helm3_ldflags+=" -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$minor"
  done
  part "helm3-$HELM3_VERSION" helm go_program helm3 "helm.sh/helm/v3@$HELM3_VERSION" \
    0 "" "$helm3_ldflags" helm.sh/helm/v3/cmd/helm
}

# Taken out of its package, not installed: a machine that runs tests is not to run a Prometheus as well.
debian_program() {
  local package=$1 program=$2 output=$3 folder
  folder=$(mktemp -d)
  cd "$folder"
  if ! apt-get download -qq -o APT::Sandbox::User=root "$package" >/dev/null 2>&1; then
    apt-get update -qq >&2
    apt-get download -qq -o APT::Sandbox::User=root "$package" >&2
  fi
  dpkg-deb --extract "$package"_*.deb .
  mv "usr/bin/$program" "$output"
  cd "$here"
  rm -rf "$folder"
}

chart() {
  helm
  part "unittest-$UNITTEST_VERSION" helm-unittest go_program unittest "github.com/helm-unittest/helm-unittest@$UNITTEST_VERSION" \
    0 "" "$plain_ldflags" github.com/helm-unittest/helm-unittest/cmd/helm-unittest
  for program in prometheus promtool; do
    part "prometheus-$PROMETHEUS_VERSION" "$program" debian_program prometheus "$program"
  done
}

mkdir -p "$cache"
echo '*' >"$cache/.gitignore"
case ${1:-cluster} in
  cluster) cluster ;;
  chart) chart ;;
  *) echo "there is nothing to build called $1: cluster (the default) or chart" >&2 && exit 64 ;;
esac
say "all parts" "$SECONDS s"

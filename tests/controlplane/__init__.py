"""A real Kubernetes control plane for tests, as processes on loopback: etcd, kube-apiserver,
kube-controller-manager, kube-scheduler; RBAC on.

    python -m tests.controlplane build    # find the programs, or build them once
    python -m tests.controlplane up       # run one in the foreground and print its kubeconfig's path
"""

"""The product on a real node: kubelet, containerd, runc, kube-proxy, CoreDNS, on the test control plane.

    python -m tests.cluster build    # the programs and images, once
    python -m tests.cluster up       # a node in the foreground; prints how another terminal reaches it
    python -m tests.cluster clean    # what a crash left

The node lives in network, mount and PID namespaces of its own, so that its links, rules, mounts and processes
end with it, whatever happens.
"""

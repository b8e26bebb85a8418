"""What the rules text says for pods and policies. Run: python3 -m unittest discover -s e2e/cluster -p '*_test.py' -t e2e/cluster"""
import unittest

from lib.policy_rules import selects, table


def pod(name, ip, namespace="site", labels=None, ports=(), **spec):
    containers = [{"name": "c", "ports": [{"name": n, "containerPort": p, "protocol": proto} for n, p, proto in ports]}]
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"containers": containers, **spec}, "status": {"podIP": ip, "phase": "Running"}}


def policy(spec, name="p", namespace="site"):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


BROKER = pod("broker", "10.0.0.1", labels={"app": "kafka"}, ports=[("kafka", 9092, "TCP"), ("dns", 53, "UDP")])
BRIDGE = pod("bridge", "10.0.0.2", labels={"app": "bridge"})
STRANGER = pod("stranger", "10.0.0.3", namespace="other", labels={"app": "bridge"})
PODS = [BROKER, BRIDGE, STRANGER]
NAMESPACES = [{"metadata": {"name": "site", "labels": {"tier": "edge"}}}, {"metadata": {"name": "other", "labels": {}}}]
KAFKA = {"podSelector": {"matchLabels": {"app": "kafka"}}, "policyTypes": ["Ingress"]}


def text(*policies, pods=PODS):
    return table(pods, list(policies), NAMESPACES)


def accepts(out):
    """The accepting rules of all policies."""
    return [line.strip() for line in out.splitlines() if line.strip().endswith("accept") and "counter" not in line]


class SelectorTest(unittest.TestCase):
    def test_an_empty_selector_selects_everything(self):
        self.assertTrue(selects({}, {}))
        self.assertTrue(selects(None, {"a": "b"}))

    def test_labels_must_all_match(self):
        self.assertTrue(selects({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}))
        self.assertFalse(selects({"matchLabels": {"a": "1", "b": "3"}}, {"a": "1", "b": "2"}))

    def test_expressions_follow_the_api(self):
        for operator, values, labels, expected in [
                ("In", ["1"], {"a": "1"}, True), ("In", ["1"], {}, False), ("NotIn", ["1"], {"a": "1"}, False),
                ("NotIn", ["1"], {}, True), ("Exists", None, {"a": ""}, True), ("Exists", None, {}, False),
                ("DoesNotExist", None, {}, True), ("DoesNotExist", None, {"a": "1"}, False)]:
            with self.subTest(operator=operator, labels=labels):
                expression = {"key": "a", "operator": operator, "values": values}
                self.assertEqual(selects({"matchExpressions": [expression]}, labels), expected)


class TableTest(unittest.TestCase):
    def test_without_policies_nothing_is_isolated(self):
        self.assertNotIn("jump", text())

    def test_a_policy_without_rules_isolates_its_pods_only(self):
        out = text(policy(KAFKA))
        self.assertIn("10.0.0.1 : jump ingress-10-0-0-1", out)
        self.assertNotIn("10.0.0.2 : jump", out)
        self.assertEqual(accepts(out), [])

    def test_a_pod_selector_alone_means_the_policys_namespace(self):
        out = text(policy({**KAFKA, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "bridge"}}}]}]}))
        self.assertEqual(accepts(out), ["ip saddr { 10.0.0.2 } accept"])

    def test_a_namespace_selector_alone_means_all_its_pods(self):
        out = text(policy({**KAFKA, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"tier": "edge"}}}]}]}))
        self.assertEqual(accepts(out), ["ip saddr { 10.0.0.1, 10.0.0.2 } accept"])

    def test_an_empty_namespace_selector_means_all_namespaces(self):
        peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "bridge"}}}
        self.assertEqual(accepts(text(policy({**KAFKA, "ingress": [{"from": [peer]}]}))), ["ip saddr { 10.0.0.2, 10.0.0.3 } accept"])

    def test_a_peer_that_selects_no_pod_allows_nothing(self):
        out = text(policy({**KAFKA, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]}))
        self.assertEqual(accepts(out), [])

    def test_a_rule_without_peers_allows_everyone(self):
        self.assertEqual(accepts(text(policy({**KAFKA, "ingress": [{"ports": [{"port": 9092}]}]}))), ["tcp dport 9092 accept"])
        self.assertEqual(accepts(text(policy({**KAFKA, "ingress": [{}]}))), ["accept"])

    def test_ip_blocks_have_exceptions(self):
        spec = {"podSelector": {}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}]}
        self.assertEqual(accepts(text(policy(spec))), ["ip daddr 10.0.0.0/8 ip daddr != { 10.1.0.0/16 } accept"])

    def test_ports_have_protocols_ranges_and_names(self):
        ports = [{"protocol": "UDP", "port": 53}, {"port": 9092, "endPort": 9094}, {"port": "kafka"}, {"protocol": "UDP", "port": "kafka"},
                 {"protocol": "SCTP"}]
        self.assertEqual(accepts(text(policy({**KAFKA, "ingress": [{"ports": ports}]}))), [
            "udp dport 53 accept", "tcp dport 9092-9094 accept", "ip daddr 10.0.0.1 tcp dport 9092 accept", "meta l4proto sctp accept"])

    def test_a_named_port_of_egress_is_looked_up_in_the_far_pods(self):
        spec = {"podSelector": {"matchLabels": {"app": "bridge"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "kafka"}}}], "ports": [{"port": "kafka"}]}]}
        self.assertEqual(accepts(text(policy(spec))), ["ip daddr { 10.0.0.1 } ip daddr 10.0.0.1 tcp dport 9092 accept"])

    def test_policy_types_default_to_ingress_and_to_egress_where_it_is_given(self):
        self.assertNotIn("egress-10-0-0-1", text(policy({"podSelector": {}})))
        self.assertIn("egress-10-0-0-1", text(policy({"podSelector": {}, "egress": [{}]})))

    def test_several_policies_of_a_pod_add_up(self):
        out = text(policy(KAFKA, "deny"), policy({**KAFKA, "ingress": [{}]}, "allow"))
        chain = out[out.index("chain ingress-10-0-0-1 {"):].split("}")[0]
        self.assertEqual(chain.count("jump"), 2)
        self.assertTrue(chain.strip().endswith("counter drop"))

    def test_pods_of_the_host_network_and_ended_ones_are_left_out(self):
        ended = {**pod("old", "10.0.0.8"), "status": {"podIP": "10.0.0.8", "phase": "Succeeded"}}
        out = text(policy({"podSelector": {}}), pods=[pod("host", "10.0.0.9", hostNetwork=True), ended])
        self.assertNotIn("10.0.0.9", out)
        self.assertNotIn("10.0.0.8", out)

    def test_the_order_of_the_input_does_not_matter(self):
        two = [policy(KAFKA, "a"), policy({**KAFKA, "ingress": [{}]}, "b")]
        self.assertEqual(table(PODS, two, NAMESPACES), table(PODS[::-1], two[::-1], NAMESPACES))


if __name__ == "__main__":
    unittest.main()

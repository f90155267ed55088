# A network with a public subnet for the load balancer and one for the instances, and what may talk to what.

resource "oci_core_vcn" "this" {
  compartment_id = var.compartment_id
  display_name   = var.name
  cidr_blocks    = ["10.0.0.0/16"]
  dns_label      = var.name
}

resource "oci_core_internet_gateway" "this" {
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = var.name
}

# Private instances fetch packages and talk to the mail server and the payment gateway through it. Always Free has none.
resource "oci_core_nat_gateway" "this" {
  count          = var.private_instances ? 1 : 0
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = var.name
}

resource "oci_core_route_table" "public" {
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = "${var.name}-public"

  route_rules {
    destination       = "0.0.0.0/0"
    network_entity_id = oci_core_internet_gateway.this.id
  }
}

resource "oci_core_route_table" "instances" {
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = "${var.name}-instances"

  route_rules {
    destination       = "0.0.0.0/0"
    network_entity_id = var.private_instances ? oci_core_nat_gateway.this[0].id : oci_core_internet_gateway.this.id
  }
}

# Everything goes out; what comes in is for the security groups to say.
resource "oci_core_security_list" "this" {
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = var.name

  egress_security_rules {
    destination = "0.0.0.0/0"
    protocol    = "all"
  }
}

resource "oci_core_subnet" "public" {
  compartment_id    = var.compartment_id
  vcn_id            = oci_core_vcn.this.id
  display_name      = "${var.name}-public"
  dns_label         = "public"
  cidr_block        = "10.0.0.0/24"
  route_table_id    = oci_core_route_table.public.id
  security_list_ids = [oci_core_security_list.this.id]
}

resource "oci_core_subnet" "instances" {
  compartment_id             = var.compartment_id
  vcn_id                     = oci_core_vcn.this.id
  display_name               = "${var.name}-instances"
  dns_label                  = "instances"
  cidr_block                 = "10.0.1.0/24"
  route_table_id             = oci_core_route_table.instances.id
  security_list_ids          = [oci_core_security_list.this.id]
  prohibit_public_ip_on_vnic = var.private_instances
}

resource "oci_core_network_security_group" "this" {
  for_each       = toset(["load-balancer", "instances", "data"])
  compartment_id = var.compartment_id
  vcn_id         = oci_core_vcn.this.id
  display_name   = "${var.name}-${each.key}"
}

locals {
  # Who may reach whom, on which TCP port.
  allowed = merge(
    {
      http  = { to = "load-balancer", from = "0.0.0.0/0", port = 80 }
      https = { to = "load-balancer", from = "0.0.0.0/0", port = 443 }
      # From the network itself: the load balancer, and Prometheus.
      frontend   = { to = "instances", from = "10.0.0.0/16", port = 80 }
      api        = { to = "instances", from = "10.0.0.0/16", port = 3000 }
      metrics    = { to = "instances", from = "10.0.1.0/24", port = 9090 }
      postgresql = { to = "data", from = "10.0.1.0/24", port = 5432 }
      redis      = { to = "data", from = "10.0.1.0/24", port = 6379 }
    },
    var.ssh_from == null ? {} : { ssh = { to = "instances", from = var.ssh_from, port = 22 } }
  )
}

resource "oci_core_network_security_group_security_rule" "this" {
  for_each                  = local.allowed
  network_security_group_id = oci_core_network_security_group.this[each.value.to].id
  description               = each.key
  direction                 = "INGRESS"
  protocol                  = "6"
  source                    = each.value.from
  source_type               = "CIDR_BLOCK"

  tcp_options {
    destination_port_range {
      min = each.value.port
      max = each.value.port
    }
  }
}

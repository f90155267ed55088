output "public_subnet_id" {
  value = oci_core_subnet.public.id
}

output "instances_subnet_id" {
  value = oci_core_subnet.instances.id
}

output "security_groups" {
  description = "By what they are for: load-balancer, instances, data."
  value       = { for name, group in oci_core_network_security_group.this : name => group.id }
}

output "addresses" {
  description = "Where to log in and run install.sh."
  value       = oci_core_instance.this[*].public_ip
}

output "load_balancer_addresses" {
  value = oci_load_balancer_load_balancer.this.ip_address_details[*].ip_address
}

mock_provider "oci" {}

variables {
  region              = "ap-mumbai-1"
  compartment_id      = "ocid1.compartment.oc1..shop"
  availability_domain = "Uocm:AP-MUMBAI-1-AD-1"
  image_id            = "ocid1.image.oc1.ap-mumbai-1.linux"
  ssh_public_key      = "ssh-ed25519 AAAA me"
  ssh_from            = "203.0.113.7/32"
}

run "stays_within_what_is_free" {
  command = plan

  assert {
    condition     = length(oci_core_instance.this) == 2 && alltrue([for one in oci_core_instance.this : one.shape == "VM.Standard.E2.1.Micro"])
    error_message = "Two instances of VM.Standard.E2.1.Micro are free."
  }

  assert {
    condition     = oci_load_balancer_load_balancer.this.shape_details[0].maximum_bandwidth_in_mbps == 10
    error_message = "A load balancer of 10 Mbps is free."
  }
}

run "asks_the_first_machine" {
  command = plan

  assert {
    condition     = length(oci_load_balancer_backend.api) == 1
    error_message = "The database is on the first machine, and so is the API."
  }

  assert {
    condition = alltrue([
      for one in oci_core_instance.this : strcontains(base64decode(one.metadata.user_data), "--dport ${oci_load_balancer_backend.api[0].port} ")
    ])
    error_message = "The machines' own firewall does not let the load balancer in."
  }
}

run "asks_both_machines" {
  command = plan

  variables {
    serving_machines = 2
  }

  assert {
    condition     = length(oci_load_balancer_backend.api) == 2
    error_message = "Both machines serve."
  }
}

run "refuses_a_third_machine" {
  command = plan

  variables {
    serving_machines = 3
  }

  expect_failures = [var.serving_machines]
}

run "refuses_the_whole_internet" {
  command = plan

  variables {
    ssh_from = "0.0.0.0/0"
  }

  expect_failures = [var.ssh_from]
}

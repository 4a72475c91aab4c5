from kodosumi_prefect.cli import main

main()
